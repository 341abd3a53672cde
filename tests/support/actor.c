/* actor STEP...: does one thing after another and prints a line on what came of it: "open ok", "open EPERM".
 *
 *   open PATH HOW             HOW: r, w or rw, then any of +creat +excl +trunc +append +nonblock; keeps the descriptor
 *   close, read, write TEXT   on that descriptor
 *   resize SIZE, overwrite, share [exec], share-later [exec]    of that descriptor: ftruncate; takes O_APPEND off it; maps
 *                             it shared and writable, executable too, at once or after it was mapped to read
 *   truncate PATH SIZE
 *   chdir PATH
 *   rename, exchange, link OLD NEW; symlink TEXT PATH; unlink, rmdir, mkdir, mknod, chmod, chown, utime, setxattr PATH
 *   resolve NAME SERVER       asks it for an IPv4 address of NAME, by UDP at port 53, and waits for the answer
 *   connect PATH              on a new AF_UNIX socket, which becomes the descriptor
 *   connect ADDRESS PORT [HOW]         on a new socket, which becomes the descriptor; HOW: any of nonblock, +udp, +udplite,
 *                             +mptcp, by TCP if it is none of these
 *   again                     the same connect, on the same socket
 *   poll                      waits until the descriptor can be written; prints the socket's error
 *   exec PATH [ARGUMENT...]   prints only if it fails
 *   spawn PATH [ARGUMENT...]  posix_spawn, then wait
 *   vfork PATH [ARGUMENT...]  vfork and exec, then wait
 *   fork ... end              the steps between are a child's
 *   daemon ... end            those of a grandchild in a session of its own
 *   thread STEP               one step in a thread of its own; its line begins with the thread's number
 *   join                      waits for all threads
 *   after PATH STEP           the step, once there is something at PATH
 *   wait                      waits for a child
 *   apart USER GROUP DIRECTORY FILE STEP    a child of this real user, with this group beside its own, does the step in
 *                             DIRECTORY, after it has opened FILE to read it if that is not "-"; prints "apart PID", and
 *                             each line of the child begins with its pid
 *   gather                    waits for all children; each line begins with the pid
 *   handler SIGNAL restart|plain|jump    prints "handled SIGNAL" when it comes; jump leaves the step: "jumped"
 *   send ADDRESS PORT         a datagram, by the same socket each time
 *   stall                     a send that waits for ever, until SIGALRM
 *   block SIGNAL
 *   line                      waits for a line on standard input
 *   host WORD                 one of the operations on the host that a policy names so, without an effect
 *   print TEXT, sleep MILLISECONDS, quit STATUS
 *   storm COUNT               so many SIGCONTs to the parent; prints how many went
 *   urge STEP                 a child does the step, traced: each stop of it is suppressed
 *   redo STEP                 likewise, but what it does is done again, as if it had been interrupted
 *   crowd COUNT PATH          so many children open PATH; prints how many could, and how many got EPERM
 *   hammer FREE DENIED ONE OTHER    until a line comes: opens FREE, which must do, and DENIED, and renames ONE to OTHER,
 *                             which must not; ONE and OTHER may be opened or not. Prints "judged", how many that were,
 *                             "wrong", "even", rounds in which both of the last could be opened or neither, and "opened"
 *                             and "refused", how often ONE was
 *   generations LINES PATH    begins so many lines of processes, each of which makes the next one, lingers, and ends
 *   harvest                   has all of them that live open PATH, and ends them: how many were born, could, got EPERM
 *   uring PATH [async]        opens it through io_uring
 *   wander PATH               on a line of input a process with the same working directory makes that PATH
 *   swap-open PATH OTHER      opens PATH; on a line of input a process with the same memory writes OTHER over it
 *   swap-exec PATH OTHER      likewise with exec
 *   swap-argument PATH ARGUMENT OTHER    likewise with exec's argument
 *   swap-symlink PATH TEXT OTHER         likewise with what a symbolic link says
 *
 * actor announce FILE COMMAND...: writes its pid to FILE and executes COMMAND.
 * actor links: prints how many BPF links there are on this host.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

extern char **environ;

enum { WORDS = 32, THREADS = 16 };

static void step(char **word);

static __thread int fd = -1;
static __thread int thread;
static __thread struct sockaddr_storage peer;
static __thread socklen_t peer_length;
static sigjmp_buf landing;
static pthread_t threads[THREADS];
static int thread_count;

/* One write: lines of threads and processes do not mix. */
static void say(const char *format, ...)
{
    char text[8192];
    int length = thread ? sprintf(text, "%d ", thread) : 0;
    va_list rest;
    va_start(rest, format);
    length += vsnprintf(text + length, sizeof text - length - 1, format, rest);
    va_end(rest);
    text[length++] = '\n';
    if (write(1, text, length) != length)
        _exit(99);
}

static _Noreturn void fail(const char *what)
{
    dprintf(2, "actor: %s: %s\n", what, strerror(errno));
    _exit(98);
}

static void result(const char *what, long value, int error)
{
    const char *name = strerrorname_np(error);
    if (value >= 0)
        say("%s ok", what);
    else if (name)
        say("%s %s", what, name);
    else
        say("%s %d", what, error);
}

static void ended(const char *whose, int status)
{
    if (WIFSIGNALED(status))
        say("%s killed %d", whose, WTERMSIG(status));
    else
        say("%s exited %d", whose, WEXITSTATUS(status));
}

static void await(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            fail("waitpid");
    ended("wait", status);
}

static void line(void)
{
    char c = 0;
    while (c != '\n')
        if (read(0, &c, 1) <= 0)
            _exit(97);
}

static int how(const char *words)
{
    int flags = strncmp(words, "rw", 2) == 0 ? O_RDWR : words[0] == 'w' ? O_WRONLY : O_RDONLY;
    flags |= strstr(words, "+creat") ? O_CREAT : 0;
    flags |= strstr(words, "+excl") ? O_EXCL : 0;
    flags |= strstr(words, "+trunc") ? O_TRUNC : 0;
    flags |= strstr(words, "+append") ? O_APPEND : 0;
    flags |= strstr(words, "+nonblock") ? O_NONBLOCK : 0;
    return flags;
}

/* What is mapped is written to: the effect is there at once. */
static long share(int wanted, bool later)
{
    char *page = mmap(NULL, 1, later ? PROT_READ : wanted, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED || (later && mprotect(page, 1, wanted)))
        return -1;
    *page = '!';
    return 0;
}

static void connect_now(void)
{
    long value = connect(fd, (struct sockaddr *)&peer, peer_length);
    result("connect", value, errno);
}

static void connect_to_path(const char *path)
{
    struct sockaddr_un *un = (void *)&peer;
    *un = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof un->sun_path)
        fail(path);
    strcpy(un->sun_path, path);
    peer_length = sizeof *un;
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        fail("socket");
    connect_now();
}

/* RFC 1035, 4.1. */
static void resolve(const char *name, const char *server)
{
    static const unsigned char head[] = { 0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0 }, tail[] = { 0, 0, 1, 0, 1 };
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(53) };
    unsigned char question[256], answer[512], *end = question;
    if (strlen(name) > 200 || inet_pton(AF_INET, server, &in.sin_addr) != 1)
        fail("resolve");
    end = (unsigned char *)mempcpy(end, head, sizeof head);
    for (const char *label = name; *label != 0; label += strspn(label, ".")) {
        size_t length = strcspn(label, ".");
        *end++ = length;
        end = (unsigned char *)mempcpy(end, label, length);
        label += length;
    }
    end = (unsigned char *)mempcpy(end, tail, sizeof tail);
    int asking = socket(AF_INET, SOCK_DGRAM, 0);
    if (sendto(asking, question, end - question, 0, (struct sockaddr *)&in, sizeof in) < 0
        || recv(asking, answer, sizeof answer, 0) < 0)
        fail(name);
    close(asking);
}

static void connect_to(char **word)
{
    if (word[1][0] == '/') {
        connect_to_path(word[1]);
        return;
    }
    bool six = strchr(word[1], ':');
    int port = htons(atoi(word[2]));
    memset(&peer, 0, sizeof peer);
    if (six) {
        struct sockaddr_in6 *in = (void *)&peer;
        *in = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = port };
        inet_pton(AF_INET6, word[1], &in->sin6_addr);
        peer_length = sizeof *in;
    } else {
        struct sockaddr_in *in = (void *)&peer;
        *in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = port };
        inet_pton(AF_INET, word[1], &in->sin_addr);
        peer_length = sizeof *in;
    }
    const char *how = word[3] ? word[3] : "";
    int protocol = strstr(how, "+udplite") ? IPPROTO_UDPLITE
                   : strstr(how, "+udp")   ? IPPROTO_UDP
                   : strstr(how, "+mptcp") ? IPPROTO_MPTCP
                                           : IPPROTO_TCP;
    int kind = strstr(how, "+udp") ? SOCK_DGRAM : SOCK_STREAM;
    fd = socket(six ? AF_INET6 : AF_INET, kind | (strstr(how, "nonblock") ? SOCK_NONBLOCK : 0), protocol);
    if (fd < 0)
        fail("socket");
    connect_now();
}

static void poll_now(void)
{
    struct pollfd polled = { .fd = fd, .events = POLLOUT };
    if (poll(&polled, 1, 20000) != 1)
        fail("poll");
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    result("poll", -(error != 0), error);
}

static void spawn(char **word)
{
    pid_t child;
    int error = posix_spawn(&child, word[1], NULL, NULL, word + 1, environ);
    result("spawn", -(error != 0), error);
    if (!error)
        await(child);
}

static void vfork_exec(char **word)
{
    pid_t child = vfork();
    if (child == 0) {
        execv(word[1], word + 1);
        _exit(errno == EPERM ? 71 : 72);
    }
    if (child < 0)
        fail("vfork");
    await(child);
}

static bool jumps;

/* In writable memory that stays the same: what is sent again is the same call. */
static void send_to(char **word)
{
    static int udp = -1;
    static struct sockaddr_in to;
    if (udp < 0)
        udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    to.sin_family = AF_INET;
    to.sin_port = htons(atoi(word[2]));
    inet_pton(AF_INET, word[1], &to.sin_addr);
    long value = sendto(udp, "Ada", 3, 0, (struct sockaddr *)&to, sizeof to);
    result("send", value, errno);
}

static void stall(void)
{
    int pair[2];
    char text[4096] = "";
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
        fail("socketpair");
    while (sendto(pair[0], text, sizeof text, MSG_DONTWAIT, NULL, 0) > 0)
        ;
    alarm(1);
    result("stall", sendto(pair[0], text, sizeof text, 0, NULL, 0), errno);
}

static void handled(int signal)
{
    say("handled %d", signal);
    if (jumps)
        siglongjmp(landing, 1);
}

static void handle(int signal, const char *manner)
{
    struct sigaction action = { .sa_handler = handled };
    action.sa_flags = strcmp(manner, "plain") == 0 ? 0 : SA_RESTART;
    jumps = strcmp(manner, "jump") == 0;
    if (sigaction(signal, &action, NULL))
        fail("sigaction");
}

static void block(int signal)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

static void apart(char **word)
{
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child != 0) {
        say("apart %d", child);
        return;
    }
    thread = getpid();
    gid_t group = atoi(word[2]);
    if (setgroups(1, &group) || setreuid(atoi(word[1]), -1))
        fail("setreuid");
    if (chdir(word[3]))
        fail(word[3]);
    if (strcmp(word[4], "-") != 0 && open(word[4], O_RDONLY) < 0)
        fail(word[4]);
    step(word + 5);
    _exit(0);
}

static void gather(void)
{
    char whose[16];
    int status;
    for (pid_t child; (child = wait(&status)) > 0;) {
        sprintf(whose, "%d", child);
        ended(whose, status);
    }
}

/* Each is refused with EPERM or fails later, or changes nothing. */
static long on_host(const char *word)
{
    struct iovec here = { .iov_base = &word, .iov_len = 1 }, nowhere = { .iov_base = NULL, .iov_len = 1 };
    if (strcmp(word, "mount") == 0)
        return chroot("/");
    if (strcmp(word, "namespace") == 0)
        return unshare(CLONE_NEWUSER);
    if (strcmp(word, "trace") == 0)
        return process_vm_readv(1, &here, 1, &nowhere, 1, 0);
    if (strcmp(word, "signal") == 0)
        return kill(1, SIGURG);
    if (strcmp(word, "schedule") == 0)
        return setpriority(PRIO_PROCESS, 1, getpriority(PRIO_PROCESS, 1));
    if (strcmp(word, "admin") == 0)
        return syscall(SYS_sethostname, "", -1);
    if (strcmp(word, "socket") == 0)
        return socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT);
    if (strcmp(word, "listen") == 0)
        return listen(socket(AF_INET, SOCK_STREAM, 0), 1);
    if (strcmp(word, "userfaultfd") == 0)
        return syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY);
    fail(word);
}

static void storm(int count)
{
    pid_t parent = getppid();
    int sent = 0;
    for (int i = 0; i < count; i++) {
        if (kill(parent, SIGCONT) == 0)
            sent++;
        else if (errno != EPERM)
            fail("kill");
        if (i % 16 == 0)
            sched_yield();
    }
    say("storm over: %d", sent);
}

/* A child that does the step, traced; stopped before it does, if it is to wait. */
static pid_t traced(char **word, bool waits)
{
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
            fail("ptrace");
        if (waits)
            raise(SIGSTOP);
        step(word);
        _exit(0);
    }
    return child;
}

static void urge(char **word)
{
    pid_t child = traced(word, false);
    int status, stops = 0;
    while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        stops++;
        if (ptrace(PTRACE_CONT, child, NULL, NULL))
            fail("ptrace");
    }
    say("urged %s", stops > 100 ? "often" : "seldom");
}

/* The result of the step's first call that opens is written over with -ERESTARTNOINTR, on whose way out of the kernel a
 * signal waits. */
static void redo(char **word)
{
    pid_t child = traced(word, true);
    int status, signal = 0;
    bool redone = false, entry = true;
    waitpid(child, &status, 0);
    if (ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD))
        fail("ptrace");
    while (ptrace(PTRACE_SYSCALL, child, NULL, signal) == 0 && waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        signal = WSTOPSIG(status) == (SIGTRAP | 0x80) ? 0 : WSTOPSIG(status);
        if (signal)
            continue;
        struct user_regs_struct registers;
        if (ptrace(PTRACE_GETREGS, child, NULL, &registers))
            fail("ptrace");
        if (!entry && !redone && registers.orig_rax == SYS_openat && (long long)registers.rax >= 0) {
            redone = true;
            registers.rax = -513;
            if (ptrace(PTRACE_SETREGS, child, NULL, &registers) || kill(child, SIGURG))
                fail("ptrace");
        }
        entry = !entry;
    }
    say("redone %s", redone ? "once" : "never");
}

static void crowd(int count, const char *path)
{
    for (int i = 0; i < count; i++) {
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0)
            _exit(open(path, O_RDONLY) >= 0 ? 0 : errno == EPERM ? 1 : 2);
    }
    int seen[3] = { 0 };
    for (int i = 0; i < count; i++) {
        int status;
        if (wait(&status) < 0)
            fail("wait");
        int code = WIFEXITED(status) && WEXITSTATUS(status) < 2 ? WEXITSTATUS(status) : 2;
        seen[code]++;
        say("crowd %d opened %d EPERM %d other", seen[0], seen[1], seen[2]);
    }
}

static bool opens(const char *path)
{
    int opened = open(path, O_RDONLY);
    if (opened < 0 && errno != EPERM)
        fail(path);
    close(opened);
    return opened >= 0;
}

static void hammer(char **word)
{
    enum { OFTEN = 16, PAUSE = 40 };
    struct pollfd input = { .fd = 0, .events = POLLIN };
    int judged = 0, wrong = 0, even = 0, opened = 0, refused = 0;
    say("begun");
    while (poll(&input, 1, PAUSE) == 0) {
        for (int turn = 0; turn < OFTEN; turn++)
            wrong += !opens(word[1]);
        wrong += opens(word[2]);
        wrong += rename(word[3], word[4]) == 0;
        bool one = opens(word[3]), other = opens(word[4]);
        even += one == other;
        one ? opened++ : refused++;
        judged += OFTEN + 4;
    }
    say("judged %d wrong %d even %d opened %d refused %d", judged, wrong, even, opened, refused);
}

static struct { volatile int over, born, living, opened, refused; } *lines;

/* Returns in the last one of its line. */
static void live(void)
{
    for (;;) {
        usleep(30000);
        if (lines->over)
            return;
        __sync_add_and_fetch(&lines->born, 1);
        __sync_add_and_fetch(&lines->living, 1);
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0)
            continue;
        for (int lingers = 0; lingers < 6 && !lines->over; lingers++)
            usleep(10000);
        if (lines->over)
            return;
        __sync_sub_and_fetch(&lines->living, 1);
        _exit(0);
    }
}

static void generations(int count, const char *path)
{
    lines = mmap(NULL, sizeof *lines, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    signal(SIGCHLD, SIG_IGN);
    for (lines->living = count; count > 0; count--) {
        if (fork() != 0)
            continue;
        live();
        bool opened = open(path, O_RDONLY) >= 0;
        if (opened || errno == EPERM)
            __sync_add_and_fetch(opened ? &lines->opened : &lines->refused, 1);
        __sync_sub_and_fetch(&lines->living, 1);
        _exit(0);
    }
}

static void harvest(void)
{
    for (lines->over = 1; lines->living > 0;)
        usleep(1000);
    say("harvest %d born %d opened %d EPERM", lines->born, lines->opened, lines->refused);
}

static void uring(char **word)
{
    struct io_uring_params setup = { 0 };
    int ring = syscall(SYS_io_uring_setup, 4, &setup);
    if (ring < 0) {
        result("uring-setup", -1, errno);
        return;
    }
    size_t sq_size = setup.sq_off.array + setup.sq_entries * sizeof(uint32_t);
    size_t cq_size = setup.cq_off.cqes + setup.cq_entries * sizeof(struct io_uring_cqe);
    char *sq = mmap(NULL, sq_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
    char *cq = mmap(NULL, cq_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
    struct io_uring_sqe *entries = mmap(NULL, setup.sq_entries * sizeof *entries, PROT_READ | PROT_WRITE, MAP_SHARED,
                                        ring, IORING_OFF_SQES);
    if (sq == MAP_FAILED || cq == MAP_FAILED || entries == MAP_FAILED)
        fail("mmap");
    entries[0] = (struct io_uring_sqe){ .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uintptr_t)word[1] };
    entries[0].flags = word[2] ? IOSQE_ASYNC : 0;
    ((uint32_t *)(sq + setup.sq_off.array))[0] = 0;
    __atomic_store_n((uint32_t *)(sq + setup.sq_off.tail), 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
        fail("io_uring_enter");
    struct io_uring_cqe *done = (void *)(cq + setup.cq_off.cqes);
    result("uring", done[0].res, -done[0].res);
}

/* A process of its own, not a thread: it runs while the one whose memory it shares is stopped. */
static char shared[4096];
static const char *other;

static int swap(void *unused)
{
    (void)unused;
    line();
    strcpy(shared, other);
    static const char said[] = "swapped\n";
    syscall(SYS_write, 1, said, sizeof said - 1);
    syscall(SYS_exit, 0);
    return 0;
}

static char *swapped_later(const char *now, const char *later)
{
    static char stack[1 << 16] __attribute__((aligned(16)));
    strcpy(shared, now);
    other = later;
    if (clone(swap, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL) < 0)
        fail("clone");
    return shared;
}

static int wander(void *directory)
{
    line();
    if (chdir(directory))
        fail(directory);
    say("wandered");
    _exit(0);
}

static void wander_later(char *directory)
{
    static char stack[1 << 16] __attribute__((aligned(16)));
    if (clone(wander, stack + sizeof stack, CLONE_FS | SIGCHLD, directory) < 0)
        fail("clone");
}

static void swap_exec(const char *path, char *argument)
{
    char *arguments[] = { (char *)path, argument, NULL };
    execv(path, arguments);
    result("exec", -1, errno);
}


static void *in_thread(void *steps)
{
    char **word = steps;
    thread = atoi(word[0]);
    step(word + 1);
    return NULL;
}

static void start_thread(char **word)
{
    static char numbers[THREADS][4];
    if (thread_count == THREADS)
        fail("too many threads");
    char **copy = calloc(WORDS + 1, sizeof *copy);
    memcpy(copy + 1, word + 1, (WORDS - 1) * sizeof *copy);
    copy[0] = numbers[thread_count];
    sprintf(copy[0], "%d", thread_count + 1);
    if (pthread_create(&threads[thread_count++], NULL, in_thread, copy))
        fail("pthread_create");
}

static bool is(char **word, const char *name)
{
    return strcmp(word[0], name) == 0;
}

/* What is done to a name or beside it; -2 if the word is none of these. */
static long named(char **word)
{
    const struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 2 } };
    if (is(word, "rename"))
        return rename(word[1], word[2]);
    if (is(word, "exchange"))
        return renameat2(AT_FDCWD, word[1], AT_FDCWD, word[2], RENAME_EXCHANGE);
    if (is(word, "link"))
        return link(word[1], word[2]);
    if (is(word, "symlink"))
        return symlink(word[1], word[2]);
    if (is(word, "unlink"))
        return unlink(word[1]);
    if (is(word, "rmdir"))
        return rmdir(word[1]);
    if (is(word, "mkdir"))
        return mkdir(word[1], 0750);
    if (is(word, "mknod"))
        return mknod(word[1], S_IFREG | 0644, 0);
    if (is(word, "chmod"))
        return chmod(word[1], 0640);
    if (is(word, "chown"))
        return chown(word[1], -1, getgid());
    if (is(word, "utime"))
        return utimensat(AT_FDCWD, word[1], times, 0);
    if (is(word, "setxattr"))
        return setxattr(word[1], "user.a", "b", 1, 0);
    return -2;
}

static void step(char **word)
{
    if (is(word, "open")) {
        fd = open(word[1], how(word[2]), 0644);
        result("open", fd, errno);
    } else if (is(word, "close")) {
        close(fd);
    } else if (is(word, "read")) {
        char text[256] = "";
        long length = read(fd, text, sizeof text - 1);
        if (length < 0)
            result("read", length, errno);
        else
            say("read %.*s", (int)strcspn(text, "\n"), text);
    } else if (is(word, "write")) {
        long length = write(fd, word[1], strlen(word[1]));
        result("write", length, errno);
    } else if (is(word, "resize")) {
        long value = ftruncate(fd, atol(word[1]));
        result("resize", value, errno);
    } else if (is(word, "overwrite")) {
        long value = fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_APPEND);
        result("overwrite", value, errno);
    } else if (is(word, "share") || is(word, "share-later")) {
        int executes = word[1] ? PROT_EXEC : 0;
        long value = share(PROT_READ | PROT_WRITE | executes, is(word, "share-later"));
        result(word[0], value, errno);
    } else if (is(word, "chdir")) {
        long value = chdir(word[1]);
        result("chdir", value, errno);
    } else if (is(word, "truncate")) {
        long value = truncate(word[1], atol(word[2]));
        result("truncate", value, errno);
    } else if (is(word, "connect")) {
        connect_to(word);
    } else if (is(word, "resolve")) {
        resolve(word[1], word[2]);
    } else if (is(word, "again")) {
        connect_now();
    } else if (is(word, "poll")) {
        poll_now();
    } else if (is(word, "exec")) {
        execv(word[1], word + 1);
        result("exec", -1, errno);
    } else if (is(word, "spawn")) {
        spawn(word);
    } else if (is(word, "vfork")) {
        vfork_exec(word);
    } else if (is(word, "thread")) {
        start_thread(word);
    } else if (is(word, "join")) {
        while (thread_count > 0)
            pthread_join(threads[--thread_count], NULL);
    } else if (is(word, "wait")) {
        await(-1);
    } else if (is(word, "apart")) {
        apart(word);
    } else if (is(word, "gather")) {
        gather();
    } else if (is(word, "host")) {
        long value = on_host(word[1]);
        result("host", value, errno);
    } else if (is(word, "handler")) {
        handle(atoi(word[1]), word[2]);
    } else if (is(word, "block")) {
        block(atoi(word[1]));
    } else if (is(word, "line")) {
        line();
    } else if (is(word, "print")) {
        say("%s", word[1]);
    } else if (is(word, "sleep")) {
        usleep(atoi(word[1]) * 1000);
    } else if (is(word, "quit")) {
        _exit(atoi(word[1]));
    } else if (is(word, "storm")) {
        storm(atoi(word[1]));
    } else if (is(word, "urge")) {
        urge(word + 1);
    } else if (is(word, "redo")) {
        redo(word + 1);
    } else if (is(word, "send")) {
        send_to(word);
    } else if (is(word, "stall")) {
        stall();
    } else if (is(word, "crowd")) {
        crowd(atoi(word[1]), word[2]);
    } else if (is(word, "hammer")) {
        hammer(word);
    } else if (is(word, "generations")) {
        generations(atoi(word[1]), word[2]);
    } else if (is(word, "harvest")) {
        harvest();
    } else if (is(word, "after")) {
        while (access(word[1], F_OK) != 0)
            usleep(10000);
        step(word + 2);
    } else if (is(word, "uring")) {
        uring(word);
    } else if (is(word, "wander")) {
        wander_later(word[1]);
    } else if (is(word, "swap-open")) {
        fd = open(swapped_later(word[1], word[2]), O_RDONLY);
        result("open", fd, errno);
    } else if (is(word, "swap-exec")) {
        swap_exec(swapped_later(word[1], word[2]), NULL);
    } else if (is(word, "swap-argument")) {
        swap_exec(word[1], swapped_later(word[2], word[3]));
    } else if (is(word, "swap-symlink")) {
        long value = symlink(swapped_later(word[2], word[3]), word[1]);
        result("symlink", value, errno);
    } else {
        errno = ENOSYS;
        long value = named(word);
        if (value == -2)
            fail(word[0]);
        result(word[0], value, errno);
    }
}

static int after_end(char **steps, int index)
{
    while (steps[index] && strcmp(steps[index], "end") != 0)
        index++;
    return index;
}

/* Runs steps from `index` to the end or to "end". */
static void perform(char **steps, volatile int index)
{
    for (; steps[index]; index++) {
        if (strcmp(steps[index], "end") == 0)
            _exit(0);
        bool daemon = strcmp(steps[index], "daemon") == 0;
        if (daemon || strcmp(steps[index], "fork") == 0) {
            pid_t child = fork();
            if (child < 0)
                fail("fork");
            if (child == 0) {
                if (daemon && (setsid() < 0 || fork() != 0))
                    _exit(0);
                perform(steps, index + 1);
                _exit(0);
            }
            if (daemon)
                waitpid(child, NULL, 0);
            index = after_end(steps, index);
            if (!steps[index])
                return;
            continue;
        }
        char *word[WORDS] = { 0 };
        int count = 0;
        for (char *rest = strdup(steps[index]), *next; (next = strsep(&rest, " ")) && count < WORDS - 1;)
            word[count++] = next;
        if (sigsetjmp(landing, 1))
            say("jumped");
        else
            step(word);
    }
}

static void announce(char **word)
{
    int file = open(word[0], O_WRONLY | O_CLOEXEC);
    if (file < 0 || dprintf(file, "%d\n", getpid()) < 0)
        fail(word[0]);
    close(file);
    execvp(word[1], word + 1);
    int error = errno;
    const char *name = strerrorname_np(error);
    say("exec %s", name ? name : "?");
    _exit(error == EPERM ? 126 : 127);
}

static int links(void)
{
    union bpf_attr next = { 0 };
    int count = 0;
    for (; syscall(SYS_bpf, BPF_LINK_GET_NEXT_ID, &next, sizeof next) == 0; count++)
        next.start_id = next.next_id;
    if (errno != ENOENT)
        fail("bpf");
    printf("%d\n", count);
    return 0;
}

int main(int count, char **arguments)
{
    if (count > 3 && strcmp(arguments[1], "announce") == 0)
        announce(arguments + 2);
    if (count == 2 && strcmp(arguments[1], "links") == 0)
        return links();
    perform(arguments + 1, 0);
    return 0;
}
