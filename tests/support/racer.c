/* racer RACE ...: does one thing over and over while another process changes, in memory or on disk, what it is about.
 * A line for each time that it came to something: "A" or "B", by what it was done to. On a line of input it ends, and
 * prints how often a file was busy.
 *
 *   open PATH                 opens the file; PATH ends in A, which becomes B and A again
 *   argument PROGRAM          executes PROGRAM with the argument A, likewise; it is a copy of this one
 *   program PATH              executes what is at PATH: a copy of this one, or of it with another mark
 *   script PATH               executes the script, whose last letter is written over by A and B
 *   connect PORT PORT         connects to one port, A, or the other, B
 *   exchange PATH OTHER       does nothing else than to exchange the two names
 *
 * What it executes: racer A, racer B, which print their argument, and racer mark, which prints its mark.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where another copy has a B. */
static const volatile char mark[] = "the mark is A";

/* What a worker and its racing process share. */
struct shared {
    char path[4096];
    char argument[2];
    struct sockaddr_in peer;
    in_port_t ports[2];
};

/* What all share. */
static struct {
    bool ending;
    int busy;
} *all;

static struct shared *shared;
static const char *target;
static const char *other;

static _Noreturn void fail(const char *what)
{
    dprintf(2, "racer: %s: %s\n", what, strerror(errno));
    _exit(98);
}

static void say(char letter)
{
    char line[] = { letter, '\n' };
    if (write(1, line, sizeof line) != sizeof line)
        _exit(99);
}

static void *memory(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        fail("mmap");
    return at;
}

static char *last(char *text)
{
    return text + strlen(text) - 1;
}

/* --- The races: what is done, and how it is changed to the state 0 or 1 --------------------------------------------- */

static void path_to(int state)
{
    *last(shared->path) = "AB"[state];
}

static void open_it(void)
{
    char letter;
    int fd = open(shared->path, O_RDONLY);
    if (fd < 0)
        return;
    if (read(fd, &letter, 1) == 1)
        say(letter);
    close(fd);
}

/* The exit status of what was executed; 1 if it was denied. */
static int execute(const char *path, char *argument)
{
    pid_t child = fork();
    if (child == 0) {
        char *arguments[] = { (char *)path, argument, NULL };
        execv(path, arguments);
        _exit(errno == ETXTBSY ? 2 : 1);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child)
        fail("fork");
    if (!WIFEXITED(status))
        return -1;
    if (WEXITSTATUS(status) == 2)
        usleep(100);
    return WEXITSTATUS(status);
}

static void argument_to(int state)
{
    shared->argument[0] = "AB"[state];
}

static void execute_with_argument(void)
{
    execute(target, shared->argument);
}

static void execute_program(void)
{
    execute(target, "mark");
}

static void execute_script(void)
{
    execute(target, NULL);
}

static void script_to(int state)
{
    int fd = open(target, O_WRONLY);
    if (fd < 0) {
        __atomic_add_fetch(&all->busy, errno == ETXTBSY, __ATOMIC_RELAXED);
        return;
    }
    if (pwrite(fd, &"AB"[state], 1, lseek(fd, 0, SEEK_END) - 1) != 1)
        fail("write");
    close(fd);
    /* Long enough for a question to be read before its script changes, where nothing keeps it from changing. */
    usleep(random() % 50000);
}

static void peer_to(int state)
{
    shared->peer.sin_port = shared->ports[state];
}

static void connect_it(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in met;
    socklen_t length = sizeof met;
    if (fd < 0)
        fail("socket");
    if (connect(fd, (struct sockaddr *)&shared->peer, sizeof shared->peer) == 0) {
        if (getpeername(fd, (struct sockaddr *)&met, &length))
            fail("getpeername");
        say(met.sin_port == shared->ports[0] ? 'A' : 'B');
    }
    close(fd);
}

static void exchanged(int state)
{
    (void)state;
    if (renameat2(AT_FDCWD, target, AT_FDCWD, other, RENAME_EXCHANGE))
        fail("renameat2");
}

/* -------------------------------------------------------------------------------------------------------------------- */

static const struct race {
    const char *name;
    void (*perform)(void);
    void (*change)(int state);
    /* So many do it at a time, each with a process that races against it. Of the script one alone: several would keep it
     * busy in turn, with what is denied, for ever. */
    int workers;
} races[] = {
    { "open", open_it, path_to, 4 },
    { "argument", execute_with_argument, argument_to, 4 },
    { "program", execute_program, NULL, 4 },
    { "script", execute_script, script_to, 1 },
    { "connect", connect_it, peer_to, 4 },
    { "exchange", NULL, exchanged, 1 },
};

static _Noreturn void change_for_ever(const struct race *race)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int state = 0;; state = !state) {
        race->change(state);
        /* A name that is exchanged has another ctime each time: quicker than the answers, nothing would ever pass. */
        usleep(random() % (race->perform ? 2000 : 1000000));
    }
}

static _Noreturn void work(const struct race *race, char **words)
{
    shared = memory(sizeof *shared);
    strcpy(shared->path, words[0]);
    strcpy(shared->argument, "A");
    shared->peer = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    for (int i = 0; i < 2 && words[i]; i++)
        shared->ports[i] = htons(atoi(words[i]));
    srandom(getpid());
    pid_t racing = race->change ? fork() : 0;
    if (race->change && racing == 0)
        change_for_ever(race);
    while (!__atomic_load_n(&all->ending, __ATOMIC_RELAXED)) {
        if (race->change)
            race->change(0);
        race->perform();
    }
    if (race->change)
        kill(racing, SIGKILL);
    _exit(0);
}

static void line(void)
{
    char c = 0;
    while (c != '\n')
        if (read(0, &c, 1) <= 0)
            _exit(97);
}

int main(int count, char **words)
{
    if (count == 2) {
        say(strcmp(words[1], "mark") == 0 ? mark[sizeof mark - 2] : words[1][0]);
        return 0;
    }
    const struct race *race = races;
    while (strcmp(race->name, words[1]) != 0)
        race++;
    target = words[2];
    other = words[3];
    all = memory(sizeof *all);
    if (!race->perform)
        change_for_ever(race);
    for (int i = 0; i < race->workers; i++)
        if (fork() == 0)
            work(race, words + 2);
    line();
    __atomic_store_n(&all->ending, true, __ATOMIC_RELAXED);
    for (int i = 0; i < race->workers; i++)
        wait(NULL);
    dprintf(1, "busy %d\n", all->busy);
    return 0;
}
