// A stand-in for the Anthropic Messages API: answers POST /v1/messages with an event stream in its wire format, at a
// fixed rate. The request says how: the last "tokens=200", "rate=50" (tokens per second) and "ttft=0" (milliseconds
// until the first token) in its body count, so the user's newest message decides.
//
// A client that does not read is written for all the same: the clock of its stream goes on.      usage: model PORT
#include "tokens.h"

typedef struct {
    int fd, place;  // in the queue; -1: not in it
    Buffer in, out;
    int token, tokens;
    double period_us;
    int64_t requested_at, begins_at, due_at;
} Client;

static int poll_fd;
// The streams that have a token to come: a heap, the earliest first.
static Client *queue[65536];
static int queue_length;

static void queue_put(Client *c, int place) {
    queue[place] = c;
    c->place = place;
}

static void queue_sift(Client *c, int place) {
    while (place > 0 && queue[(place - 1) / 2]->due_at > c->due_at) {
        queue_put(queue[(place - 1) / 2], place);
        place = (place - 1) / 2;
    }
    for (;;) {
        int child = 2 * place + 1;
        if (child + 1 < queue_length && queue[child + 1]->due_at < queue[child]->due_at) child++;
        if (child >= queue_length || queue[child]->due_at >= c->due_at) break;
        queue_put(queue[child], place);
        place = child;
    }
    queue_put(c, place);
}

static void queue_add(Client *c) {
    queue_length++;
    queue_sift(c, queue_length - 1);
}

static void queue_remove(Client *c) {
    if (c->place < 0) return;
    Client *last = queue[--queue_length];
    if (last != c) queue_sift(last, c->place);
    c->place = -1;
}

// One event of the stream, in one chunk of the body.
__attribute__((format(printf, 3, 4))) static void add_event(Buffer *out, const char *name, const char *format, ...) {
    char data[1024];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(data, sizeof data, format, values);
    va_end(values);
    size_t size = strlen("event: \ndata: \n\n") + strlen(name) + (size_t)length;
    buffer_format(out, "%zx\r\nevent: %s\ndata: %s\n\n\r\n", size, name, data);
}

static long read_parameter(const char *body, size_t length, const char *name, long otherwise) {
    size_t size = strlen(name);
    for (size_t i = length; i-- > size;) {
        const char *at = body + i - size;
        if (memcmp(at, name, size) == 0 && at[size] >= '0' && at[size] <= '9') return strtol(at + size, NULL, 10);
    }
    return otherwise;
}

static void begin_stream(Client *c, const char *body, size_t length) {
    static unsigned requests;
    requests++;
    c->requested_at = now_us();
    c->token = 0;
    c->tokens = (int)read_parameter(body, length, "tokens=", 200);
    c->period_us = 1e6 / (double)read_parameter(body, length, "rate=", 50);
    c->begins_at = c->due_at = c->requested_at + read_parameter(body, length, "ttft=", 0) * 1000;
    buffer_format(&c->out,
                  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
                  "request-id: req_%012u\r\nTransfer-Encoding: chunked\r\n\r\n", requests);
    add_event(&c->out, "message_start",
              "{\"type\":\"message_start\",\"message\":{\"id\":\"msg_%012u\",\"type\":\"message\",\"role\":\"assistant\","
              "\"model\":\"claude-stand-in\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{"
              "\"input_tokens\":25,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,"
              "\"output_tokens\":1,\"service_tier\":\"standard\"}}}", requests);
    add_event(&c->out, "content_block_start",
              "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}");
    add_event(&c->out, "ping", "{\"type\": \"ping\"}");
    queue_add(c);
}

static void end_stream(Client *c) {
    add_event(&c->out, "content_block_stop", "{\"type\":\"content_block_stop\",\"index\":0}");
    add_event(&c->out, "message_delta",
              "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{"
              "\"input_tokens\":25,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,"
              "\"output_tokens\":%d}}", c->tokens);
    add_event(&c->out, "message_stop", "{\"type\":\"message_stop\"}");
    buffer_add_text(&c->out, "0\r\n\r\n");
}

static void close_client(Client *c) {
    queue_remove(c);
    close(c->fd);
    free(c->in.bytes);
    free(c->out.bytes);
    free(c);
}

// Takes the request that has come whole; false while none has.
static bool take_request(Client *c) {
    char *end = c->in.length ? memmem(c->in.bytes, c->in.length, "\r\n\r\n", 4) : NULL;
    if (end == NULL || c->place >= 0) return false;
    *end = 0;
    char *header = strcasestr(c->in.bytes, "content-length:");
    size_t head = (size_t)(end + 4 - c->in.bytes), body = header ? strtoul(header + 15, NULL, 10) : 0;
    *end = '\r';
    if (c->in.length < head + body) return false;
    if (memcmp(c->in.bytes, "POST /v1/messages", 17) == 0) begin_stream(c, c->in.bytes + head, body);
    else buffer_add_text(&c->out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    buffer_drop(&c->in, head + body);
    return true;
}

static bool answer_requests(Client *c) {
    while (take_request(c))
        if (!socket_flush(poll_fd, c->fd, c, &c->out)) return false;
    return true;
}

static void write_token(Client *c) {
    char text[64];
    token_write(text, c->token++, c->requested_at);
    add_event(&c->out, "content_block_delta",
              "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"%s\"}}", text);
    c->due_at = c->begins_at + (int64_t)(c->token * c->period_us);
    if (c->token < c->tokens) {
        queue_sift(c, c->place);
    } else {
        queue_remove(c);
        end_stream(c);
    }
    if (!socket_flush(poll_fd, c->fd, c, &c->out) || !answer_requests(c)) close_client(c);
}

static void accept_clients(int listener) {
    int fd;
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        Client *c = calloc(1, sizeof *c);
        c->fd = fd;
        c->place = -1;
        socket_prepare(fd);
        poll_add(poll_fd, fd, c);
    }
}

static int wait_ms(void) {
    if (queue_length == 0) return -1;
    int64_t left = queue[0]->due_at - now_us();
    return left > 0 ? (int)((left + 999) / 1000) : 0;
}

int main(int count, char **arguments) {
    static struct epoll_event events[1024];
    int listener = socket_listen(count > 1 ? atoi(arguments[1]) : 9123);
    signal(SIGPIPE, SIG_IGN);
    poll_fd = epoll_create1(0);
    poll_add(poll_fd, listener, NULL);
    for (;;) {
        int ready = epoll_wait(poll_fd, events, 1024, wait_ms());
        for (int i = 0; i < ready; i++) {
            Client *c = events[i].data.ptr;
            if (c == NULL) {
                accept_clients(listener);
                continue;
            }
            bool alive = !(events[i].events & EPOLLOUT) || socket_flush(poll_fd, c->fd, c, &c->out);
            if (alive && events[i].events & ~(unsigned)EPOLLOUT) alive = socket_read(c->fd, &c->in) && answer_requests(c);
            if (!alive) close_client(c);
        }
        while (queue_length > 0 && queue[0]->due_at <= now_us()) write_token(queue[0]);
    }
}
