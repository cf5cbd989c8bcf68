// Load generator and checker: one thread, N connections, one JSON object of results on standard output.
//
//   ws     N sockets (graphql-transport-ws) are opened first; then, spread over the ramp, each sends a message
//          (--send) and reads the reply (--read). With --readers the first one sends and all read that one reply,
//          the others at --read-port if it is given; with --slow BYTES they take no more than that a second, and
//          are held for --seconds.
//   sse    spread over the ramp, N POSTs of --body, each answered by an event stream
//   query  N connections that POST --body one after the other, --requests in all
//   hold   N sockets are opened and held for --seconds
//
// The text of a reply is every string whose key is --text-key, and it is checked token by token: complete, in order,
// exactly once. Stamps in it tell how late each came. CPU time is that of the --watch'ed processes with all that they
// started, from the first send to the last end. In operations and bodies $PROMPT, $TOKEN, $ID (what the answer to
// --send named) and $I (the connection's number) are replaced.
#include "client.h"

static bool uses_sockets(void) { return strcmp(options.mode, "ws") == 0 || strcmp(options.mode, "hold") == 0; }

static bool time_is_left(void) { return now_us() < deadline; }

static void open_all(void) {
    for (int i = 0; i < options.clients; i++) {
        if (uses_sockets()) open_socket(&clients[i]);
        else open_connection(&clients[i]);
        while (uses_sockets() && i - opened - failed > 50 && time_is_left()) serve(10);
    }
    while (uses_sockets() && opened + failed < options.clients && time_is_left()) serve(20);
    for (int64_t end = now_us() + 300000; now_us() < end;) serve(20);  // until the server rests
}

static long watch_memory(long highest) {
    static int64_t looked_at;
    if (now_us() - looked_at < 100000) return highest;
    looked_at = now_us();
    long current = usage_of(watched[0].pid).memory_kb;
    return current > highest ? current : highest;
}

static void start(Client *c) {
    if (c->state == FAILED) return;
    if (uses_sockets()) {
        send_message(c);
        return;
    }
    open_connection(c);
    c->state = READING;
    if (c->fd >= 0) send_post(c);
}

static long run_streams(long memory) {
    int started = 0;
    int64_t begin = now_us();
    while (done + failed < options.clients && time_is_left()) {
        int64_t next = begin;
        while (started < options.clients) {
            next = begin + (int64_t)options.ramp_ms * 1000 * started / options.clients;
            if (next > now_us()) break;
            start(&clients[started++]);
        }
        int64_t wait = started < options.clients ? (next - now_us() + 999) / 1000 : 20;
        serve(wait < 0 ? 0 : wait > 20 ? 20 : (int)wait);
        memory = watch_memory(memory);
    }
    return memory;
}

// Readers that take a little every second; what they are not sent yet, somebody keeps.
static long run_slow_readers(long memory) {
    for (int64_t end = now_us() + (int64_t)options.seconds * 1000000; now_us() < end;) {
        for (int i = 1; i < options.clients; i++) {
            Client *c = &clients[i];
            if (c->fd < 0) continue;
            buffer_reserve(&c->in, (size_t)options.slow);
            ssize_t n = recv(c->fd, c->in.bytes + c->in.length, (size_t)options.slow, MSG_DONTWAIT);
            if (n == 0 || (n < 0 && errno != EAGAIN)) fail(c, "connection lost", "", 0);
            if (n <= 0 || c->fd < 0) continue;
            c->in.length += (size_t)n;
            bytes_received += n;
            take_frames(c);
        }
        for (int64_t second = now_us() + 1000000; now_us() < second;) serve(50);
        memory = watch_memory(memory);
    }
    for (int i = 0; i < options.clients; i++) done += clients[i].fd >= 0 && clients[i].state != DONE;
    return memory;
}

static long run_readers(long memory) {
    send_message(&clients[0]);
    while (clients[0].state == SENT && time_is_left()) serve(5);
    for (int i = 0; i < options.clients; i++) {
        strcpy(clients[i].id, clients[0].id);
        if (clients[i].state == READY) read_reply(&clients[i]);
        if (options.slow && i) epoll_ctl(poll_fd, EPOLL_CTL_DEL, clients[i].fd, NULL);
    }
    if (options.slow) return run_slow_readers(memory);
    while (done + failed < options.clients && time_is_left()) {
        serve(20);
        memory = watch_memory(memory);
    }
    return memory;
}

static long run_queries(long memory) {
    for (int i = 0; i < options.clients && requests_sent < options.requests; i++) {
        requests_sent++;
        if (clients[i].state != FAILED) send_post(&clients[i]);
    }
    while (done + failed < options.clients && time_is_left()) serve(50);
    return memory;
}

static long run_hold(long memory) {
    for (int64_t end = now_us() + (int64_t)options.seconds * 1000000; now_us() < end;) {
        serve(100);
        memory = watch_memory(memory);
    }
    for (int i = 0; i < options.clients; i++) done += clients[i].state == READY;
    return memory;
}

static void fail_unfinished(void) {
    for (int i = 0; i < options.clients; i++)
        if (clients[i].state < DONE && strcmp(options.mode, "hold") && !options.slow) fail(&clients[i], "not finished in time", "", 0);
}

static void print_results(long memory_before, long memory_open, long memory_highest, double seconds) {
    long tokens = 0;
    for (int i = 0; i < options.clients; i++) tokens += clients[i].reader.number;
    Buffer error = {0};
    json_add_string(&error, first_error);
    printf("{\"clients\":%d,\"ok\":%d,\"failed\":%d,\"error\":%s,\"seconds\":%.3f,\"ideal_seconds\":%.3f,"
           "\"tokens\":%ld,\"requests\":%ld,\"frames\":%ld,\"bytes\":%ld,"
           "\"lag_p50_ms\":%.3f,\"lag_p99_ms\":%.3f,\"first_token_p50_ms\":%.3f,\"first_token_p99_ms\":%.3f,"
           "\"late_p99_ms\":%.1f,\"answer_p50_ms\":%.3f,\"answer_p99_ms\":%.3f,"
           "\"memory_before_kb\":%ld,\"memory_open_kb\":%ld,\"memory_highest_kb\":%ld,\"cpu_us\":{",
           options.clients, done, failed, error.bytes, seconds,
           (options.readers ? 0 : options.ramp_ms / 1e3) + (options.tokens - 1.0) / options.rate, tokens, requests_done,
           frames, bytes_received, percentile(&lags, .5), percentile(&lags, .99), percentile(&first_tokens, .5),
           percentile(&first_tokens, .99), percentile(&latenesses, .99), percentile(&answers, .5),
           percentile(&answers, .99), memory_before, memory_open, memory_highest);
    for (int i = 0; i < watched_count; i++)
        printf("%s\"%s\":%.0f", i ? "," : "", watched[i].name, usage_of(watched[i].pid).cpu_us - watched[i].before_us);
    printf("}}\n");
}

static void read_bearers(const char *path) {
    FILE *file = fopen(path, "r");
    char line[4096];
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = 0;
        bearers = realloc(bearers, (size_t)(bearer_count + 1) * sizeof *bearers);
        bearers[bearer_count++] = strdup(line);
    }
    if (file) fclose(file);
}

static void watch(char *name_and_pid) {
    char *separator = strchr(name_and_pid, '=');
    if (separator == NULL || watched_count == 7) exit(2);
    *separator = 0;
    watched[watched_count++] = (Watched){name_and_pid, atoi(separator + 1), 0};
}

static void read_options(char **a) {
    const struct { const char *name; const char **text; int *number; } plain[] = {
        {"--mode", &options.mode, NULL}, {"--path", &options.path, NULL}, {"--text-key", &options.text_key, NULL},
        {"--init", &options.init, NULL}, {"--header", &options.header, NULL}, {"--body", &options.body, NULL},
        {"--port", NULL, &options.port}, {"--clients", NULL, &options.clients}, {"--tokens", NULL, &options.tokens},
        {"--rate", NULL, &options.rate}, {"--ramp", NULL, &options.ramp_ms}, {"--timeout", NULL, &options.timeout_s},
        {"--seconds", NULL, &options.seconds}, {"--requests", NULL, &options.requests},
        {"--read-port", NULL, &options.read_port}, {"--slow", NULL, &options.slow},
    };
    for (a++; *a; a++) {
        bool known = false;
        for (size_t i = 0; i < sizeof plain / sizeof *plain && !known; i++) {
            if (strcmp(*a, plain[i].name) || a[1] == NULL) continue;
            known = true;
            if (plain[i].text) *plain[i].text = *++a;
            else *plain[i].number = atoi(*++a);
        }
        if (known) continue;
        if (strcmp(*a, "--readers") == 0) options.readers = true;
        else if (strcmp(*a, "--send") == 0) options.send = *++a, options.send_variables = *++a, options.send_key = *++a;
        else if (strcmp(*a, "--read") == 0) options.read = *++a, options.read_variables = *++a;
        else if (strcmp(*a, "--expect") == 0) options.expect = *++a, options.expected = atoi(*++a);
        else if (strcmp(*a, "--bearers") == 0) read_bearers(*++a);
        else if (strcmp(*a, "--watch") == 0) watch(*++a);
        else {
            fprintf(stderr, "unknown option %s\n", *a);
            exit(2);
        }
    }
}

int main(int count, char **arguments) {
    (void)count;
    signal(SIGPIPE, SIG_IGN);
    read_options(arguments);
    watched[watched_count++] = (Watched){"load", getpid(), 0};
    poll_fd = epoll_create1(0);
    clients = calloc((size_t)options.clients, sizeof *clients);
    for (int i = 0; i < options.clients; i++) clients[i] = (Client){.fd = -1, .number = i};
    deadline = now_us() + (int64_t)options.timeout_s * 1000000;

    long before = usage_of(watched[0].pid).memory_kb;
    if (strcmp(options.mode, "sse")) open_all();
    long open = usage_of(watched[0].pid).memory_kb;
    for (int i = 0; i < watched_count; i++) watched[i].before_us = usage_of(watched[i].pid).cpu_us;
    int64_t begin = now_us();
    long highest = strcmp(options.mode, "query") == 0  ? run_queries(open)
                   : strcmp(options.mode, "hold") == 0 ? run_hold(open)
                   : options.readers                   ? run_readers(open)
                                                       : run_streams(open);
    double seconds = (double)(now_us() - begin) / 1e6;
    fail_unfinished();
    print_results(before, open, highest, seconds);
    return 0;
}
