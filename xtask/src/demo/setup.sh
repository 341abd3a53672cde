# The scene: an address that plays a server outside, and the service that reviewers use.
set -e
ip link add outside type dummy
ip address add 192.0.2.10/32 dev outside
ip link set outside up

install -d -o reviewer -m 700 /run/reviews
install -o reviewer -m 600 /etc/holdpoint/reviews.secret /run/reviews/secret

service() { # log, command
    setsid "${@:2}" </dev/null >"$1" 2>&1 &
}
service /var/log/collector python3 "$(dirname "$0")/collector.py"
service /var/log/reviews setpriv --reuid reviewer --regid reviewer --init-groups \
    python3 "$(dirname "$0")/reviews.py" serve

for port in 8080 8701; do
    for attempt in {1..300}; do
        [ -n "$(ss -Hltn "sport = :$port")" ] && continue 2
        sleep 0.1
    done
    echo "nothing listens on port $port:" >&2
    cat /var/log/collector /var/log/reviews >&2
    exit 1
done
