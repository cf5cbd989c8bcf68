// The floor: the rivals' contract written by hand, without GraphQL engine, database, users or TLS. It shows what the
// sockets alone cost. Like the server it is measured against, it writes at most every WINDOW milliseconds to a reader:
// the first token at once, later ones together.                      usage: floor PORT MODEL_PORT WINDOW_MS
#include "json.h"
#include "websocket.h"

typedef struct Peer Peer;

// A reply in the making: the text so far, and who reads it from which place.
typedef struct {
    int number, model_port;
    bool finished;
    Buffer text;
    Peer *readers;
} Reply;

struct Peer {
    int fd;
    bool is_model, upgraded, waits;
    Buffer in, out;
    Reply *reply;
    char operation[32];
    size_t sent;  // bytes of the reply
    int64_t written_at;
    Peer *next_reader, *next_waiting;
};

static int poll_fd, reply_count, window_us;
static Reply *replies[65536];
static Peer *waiting;  // readers for whom text waits until their window ends

static void flush(Peer *p) { socket_flush(poll_fd, p->fd, p, &p->out); }

static void write_event(Peer *p, const char *event) {
    Buffer text = {0};
    buffer_format(&text, "{\"id\":\"%s\",\"type\":\"next\",\"payload\":{\"data\":{\"runEvents\":{%s}}}}", p->operation, event);
    frame_write(&p->out, FRAME_TEXT, text.bytes, text.length, false);
    free(text.bytes);
}

static void write_news(Peer *p) {
    Reply *r = p->reply;
    Buffer event = {0};
    if (p->sent < r->text.length) {
        buffer_format(&event, "\"__typename\":\"TextDelta\",\"messageId\":\"%d\",\"offset\":%zu,\"text\":\"%s\"", r->number,
                      p->sent, r->text.bytes + p->sent);
        write_event(p, event.bytes);
        p->sent = r->text.length;
        p->written_at = now_us();
        buffer_drop(&event, event.length);
    }
    if (r->finished) {
        buffer_format(&event,
                      "\"__typename\":\"RunFinished\",\"messageId\":\"%d\",\"stopReason\":\"end_turn\",\"outputTokens\":1",
                      r->number);
        write_event(p, event.bytes);
        buffer_drop(&event, event.length);
        buffer_format(&event, "{\"id\":\"%s\",\"type\":\"complete\"}", p->operation);
        frame_write(&p->out, FRAME_TEXT, event.bytes, event.length, false);
        buffer_drop(&event, event.length);
    }
    flush(p);
}

static void tell_readers(Reply *r) {
    int64_t now = now_us();
    for (Peer *p = r->readers; p; p = p->next_reader) {
        if (p->waits) continue;
        if (now >= p->written_at + window_us) {
            write_news(p);
        } else {
            p->waits = true;
            p->next_waiting = waiting;
            waiting = p;
        }
    }
}

static void write_to_waiting(void) {
    int64_t now = now_us();
    Peer **link = &waiting;
    while (*link) {
        Peer *p = *link;
        if (now < p->written_at + window_us) {
            link = &p->next_waiting;
            continue;
        }
        *link = p->next_waiting;
        p->waits = false;
        write_news(p);
    }
}

static Peer *add_peer(int fd, bool is_model) {
    Peer *p = calloc(1, sizeof *p);
    p->fd = fd;
    p->is_model = is_model;
    socket_prepare(fd);
    poll_add(poll_fd, fd, p);
    return p;
}

static void copy_value(char *out, size_t size, const Frame *frame, const char *key) {
    JsonWalk walk = {frame->text, frame->text + frame->length, 0};
    JsonPair pair;
    *out = 0;
    while (json_next(&walk, &pair))
        if (pair.is_string && json_key_is(&pair, key)) {
            snprintf(out, size, "%.*s", (int)pair.value_length, pair.value);
            return;
        }
}

static void answer(Peer *p, const char *text) {
    frame_write(&p->out, FRAME_TEXT, text, strlen(text), false);
    flush(p);
}

static void begin_reply(Peer *p, const char *operation, const char *prompt, int model_port) {
    Reply *r = calloc(1, sizeof *r);
    r->number = reply_count++;
    replies[r->number & 0xffff] = r;
    int fd = socket_connect(model_port, 0);
    if (fd < 0) exit(1);
    Peer *model = add_peer(fd, true);
    model->reply = r;
    Buffer body = {0};
    buffer_format(&body, "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}", prompt);
    buffer_format(&model->out, "POST /v1/messages HTTP/1.1\r\nHost: model\r\nContent-Length: %zu\r\n\r\n%s", body.length,
                  body.bytes);
    free(body.bytes);
    flush(model);
    char text[256];
    snprintf(text, sizeof text,
             "{\"id\":\"%s\",\"type\":\"next\",\"payload\":{\"data\":{\"sendMessage\":{\"runId\":\"%d\",\"messageId\":\"%d\"}}}}",
             operation, r->number, r->number);
    answer(p, text);
    snprintf(text, sizeof text, "{\"id\":\"%s\",\"type\":\"complete\"}", operation);
    answer(p, text);
}

static void take_message(Peer *p, const Frame *frame, int model_port) {
    char type[32], operation[32], value[256];
    copy_value(type, sizeof type, frame, "type");
    copy_value(operation, sizeof operation, frame, "id");
    if (strcmp(type, "connection_init") == 0) {
        answer(p, "{\"type\":\"connection_ack\"}");
    } else if (memmem(frame->text, frame->length, "sendMessage", 11)) {
        copy_value(value, sizeof value, frame, "text");
        begin_reply(p, operation, value, model_port);
    } else if (memmem(frame->text, frame->length, "runEvents", 9)) {
        copy_value(value, sizeof value, frame, "runId");
        Reply *r = replies[atoi(value) & 0xffff];
        strcpy(p->operation, operation);
        p->reply = r;
        p->next_reader = r->readers;
        r->readers = p;
        if (r->text.length || r->finished) write_news(p);
    }
}

static void take_from_client(Peer *p, int model_port) {
    if (!p->upgraded) {
        char *end = p->in.length ? memmem(p->in.bytes, p->in.length, "\r\n\r\n", 4) : NULL;
        if (end == NULL) return;
        buffer_drop(&p->in, (size_t)(end + 4 - p->in.bytes));
        p->upgraded = true;
        buffer_add_text(&p->out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: " WEBSOCKET_ACCEPT "\r\n"
                                 "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n");
        flush(p);
    }
    size_t offset = 0;
    Frame frame;
    while (frame_read(&p->in, &offset, &frame))
        if (frame.kind == FRAME_TEXT) take_message(p, &frame, model_port);
    if (offset) buffer_drop(&p->in, offset);
}

static void take_from_model(Peer *p) {
    static const char mark[] = "\"text_delta\",\"text\":\"";
    size_t length = sizeof mark - 1, offset = 0;
    char *end;
    bool news = false;
    while (offset < p->in.length && (end = memmem(p->in.bytes + offset, p->in.length - offset, "\n\n", 2))) {
        char *event = p->in.bytes + offset, *text = memmem(event, (size_t)(end - event), mark, length);
        if (text) buffer_add(&p->reply->text, text + length, (size_t)(end - 3 - text) - length);
        else if (memmem(event, (size_t)(end - event), "event: message_stop", 19)) p->reply->finished = true;
        news = true;
        offset = (size_t)(end + 2 - p->in.bytes);
    }
    if (offset) buffer_drop(&p->in, offset);
    if (news) tell_readers(p->reply);
}

static void close_peer(Peer *p) {
    if (p->reply && !p->is_model)
        for (Peer **link = &p->reply->readers; *link; link = &(*link)->next_reader)
            if (*link == p) {
                *link = p->next_reader;
                break;
            }
    for (Peer **link = &waiting; p->waits && *link; link = &(*link)->next_waiting)
        if (*link == p) {
            *link = p->next_waiting;
            break;
        }
    close(p->fd);
    free(p->in.bytes);
    free(p->out.bytes);
    free(p);
}

int main(int count, char **arguments) {
    static struct epoll_event events[1024];
    if (count < 4) return 2;
    int listener = socket_listen(atoi(arguments[1])), model_port = atoi(arguments[2]), fd;
    window_us = atoi(arguments[3]) * 1000;
    signal(SIGPIPE, SIG_IGN);
    poll_fd = epoll_create1(0);
    poll_add(poll_fd, listener, NULL);
    for (;;) {
        int ready = epoll_wait(poll_fd, events, 1024, waiting ? 5 : -1);
        for (int i = 0; i < ready; i++) {
            Peer *p = events[i].data.ptr;
            if (p == NULL) {
                while ((fd = accept(listener, NULL, NULL)) >= 0) add_peer(fd, false);
                continue;
            }
            if (events[i].events & EPOLLOUT) flush(p);
            if (!(events[i].events & ~(unsigned)EPOLLOUT)) continue;
            if (!socket_read(p->fd, &p->in)) close_peer(p);
            else if (p->is_model) take_from_model(p);
            else take_from_client(p, model_port);
        }
        write_to_waiting();
    }
}
