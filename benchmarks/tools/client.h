// A connection of the load generator: what it sends, and what it makes of what comes back.
#pragma once
#include "answer.h"
#include "json.h"
#include "tokens.h"
#include "usage.h"
#include "websocket.h"

typedef enum { CONNECTING, INITIATED, READY, SENT, READING, DONE, FAILED } State;

typedef struct {
    int fd, number;
    State state;
    Buffer in, out;
    Answer answer;
    char id[128];
    TokenReader reader;
    int64_t sent_at, last_token_at;
} Client;

typedef struct {
    double *values;
    size_t count, capacity;
} Samples;

typedef struct {
    const char *name;
    int pid;
    double before_us;
} Watched;

static struct {
    const char *mode, *path, *text_key, *send, *send_variables, *send_key, *read, *read_variables, *init, *header, *body;
    const char *expect;
    int port, read_port, clients, tokens, rate, ramp_ms, timeout_s, seconds, requests, expected, slow;
    bool readers;
} options = {.mode = "ws", .path = "/graphql", .text_key = "text", .init = "{}", .header = "", .body = "",
             .port = 8123, .clients = 1, .tokens = 200, .rate = 50, .ramp_ms = 1000, .timeout_s = 60, .requests = 1000};
static Watched watched[8];
static int watched_count;
static char **bearers;
static int bearer_count;

static Client *clients;
static int poll_fd, opened, done, failed;
static int64_t now, deadline;
static long frames, bytes_received, requests_sent, requests_done;
static char first_error[512];
static Samples lags, first_tokens, latenesses, answers;

static void sample_add(Samples *s, double value) {
    if (s->count == s->capacity) {
        s->capacity = s->capacity * 2 + 4096;
        s->values = realloc(s->values, s->capacity * sizeof *s->values);
    }
    s->values[s->count++] = value;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// In milliseconds; -1 without samples.
static double percentile(Samples *s, double share) {
    if (s->count == 0) return -1;
    qsort(s->values, s->count, sizeof *s->values, compare);
    return s->values[(size_t)(share * (double)(s->count - 1) + .5)] / 1e3;
}

static void fail(Client *c, const char *reason, const char *text, size_t length) {
    if (c->state == DONE || c->state == FAILED) return;
    if (*first_error == 0)
        snprintf(first_error, sizeof first_error, "connection %d, token %d: %s %.*s", c->number, c->reader.number,
                 reason, (int)(length < 300 ? length : 300), text);
    c->state = FAILED;
    failed++;
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

static void flush(Client *c) {
    if (c->fd >= 0 && !socket_flush(poll_fd, c->fd, c, &c->out)) fail(c, "connection lost", "", 0);
}

// ---- what is sent ----

static void fill(Buffer *out, const char *template, const Client *c) {
    for (; *template; template++) {
        if (strncmp(template, "$PROMPT", 7) == 0) {
            buffer_format(out, "tokens=%d rate=%d ttft=0", options.tokens, options.rate);
            template += 6;
        } else if (strncmp(template, "$TOKEN", 6) == 0) {
            int owner = options.readers ? 0 : c->number;  // readers of one reply are one user
            if (bearer_count) buffer_add_text(out, bearers[owner % bearer_count]);
            template += 5;
        } else if (strncmp(template, "$ID", 3) == 0) {
            buffer_add_text(out, c->id);
            template += 2;
        } else if (strncmp(template, "$I", 2) == 0) {
            buffer_format(out, "%d", c->number);
            template += 1;
        } else {
            buffer_add(out, template, 1);
        }
    }
}

static void send_frame(Client *c, int kind, Buffer *text) {
    frame_write(&c->out, kind, text->bytes, text->length, true);
    free(text->bytes);
    flush(c);
}

static void send_operation(Client *c, const char *id, const char *operation, const char *variables) {
    Buffer text = {0};
    buffer_format(&text, "{\"id\":\"%s\",\"type\":\"subscribe\",\"payload\":{\"query\":", id);
    json_add_string(&text, operation);
    buffer_add_text(&text, ",\"variables\":");
    fill(&text, variables, c);
    buffer_add_text(&text, "}}");
    send_frame(c, FRAME_TEXT, &text);
}

static void send_message(Client *c) {
    c->state = SENT;
    c->sent_at = now_us();
    send_operation(c, "send", options.send, options.send_variables);
}

static void read_reply(Client *c) {
    c->state = READING;
    if (options.readers) c->sent_at = now_us();
    send_operation(c, "read", options.read, options.read_variables);
}

static void send_post(Client *c) {
    Buffer body = {0}, header = {0};
    fill(&body, options.body, c);
    fill(&header, options.header, c);
    buffer_format(&c->out,
                  "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: %s\r\n"
                  "%s%sContent-Length: %zu\r\n\r\n%s",
                  options.path, strcmp(options.mode, "sse") ? "application/json" : "text/event-stream",
                  header.length ? header.bytes : "", header.length ? "\r\n" : "", body.length, body.bytes);
    free(body.bytes);
    free(header.bytes);
    c->sent_at = now_us();
    flush(c);
}

static void open_connection(Client *c) {
    bool first = c->number == 0;
    c->fd = socket_connect(options.read_port && !first ? options.read_port : options.port, first ? 0 : options.slow);
    if (c->fd < 0) {
        fail(c, "cannot connect", "", 0);
        return;
    }
    poll_add(poll_fd, c->fd, c);
}

static void open_socket(Client *c) {
    open_connection(c);
    buffer_format(&c->out,
                  "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  "Sec-WebSocket-Key: " WEBSOCKET_KEY "\r\nSec-WebSocket-Version: 13\r\n"
                  "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n", options.path);
    flush(c);
}

// ---- what comes back ----

static void take_character(Client *c, char character) {
    int64_t emitted_at = 0, requested_at = 0;
    TokenKind kind = token_read(&c->reader, character, &emitted_at, &requested_at);
    if (kind == TOKEN_UNFINISHED) return;
    if (kind == TOKEN_WRONG) {
        fail(c, "wrong text:", c->reader.part, (size_t)c->reader.length);
        return;
    }
    c->last_token_at = now;
    if (kind == TOKEN_STAMP) sample_add(&lags, (double)(now - emitted_at));
    if (requested_at && !options.readers)
        sample_add(&first_tokens, (double)((now - c->sent_at) - (emitted_at - requested_at)));
}

static void take_text(Client *c, const char *text, size_t length) {
    for (size_t i = 0; i < length && c->state != FAILED; i++) {
        char character = text[i];
        if (character == '\\' && text[i + 1] == 'u') {  // < and > may come as escapes
            char digits[5] = {0};
            memcpy(digits, text + i + 2, 4);
            character = (char)strtol(digits, NULL, 16);
            i += 5;
        }
        take_character(c, character);
    }
}

static void finish(Client *c) {
    if (c->reader.number != options.tokens || c->reader.length) {
        fail(c, "the reply ended early", "", 0);
        return;
    }
    if (c->state == FAILED || c->state == DONE) return;
    c->state = DONE;
    done++;
    sample_add(&latenesses, (double)(c->last_token_at - c->sent_at) - (options.tokens - 1) * 1e6 / options.rate);
}

static void take_payload(Client *c, const char *text, size_t length) {
    JsonWalk walk = {text, text + length, 0};
    JsonPair pair;
    while (json_next(&walk, &pair))
        if (pair.is_string && json_key_is(&pair, options.text_key)) take_text(c, pair.value, pair.value_length);
}

static void take_answer_to_send(Client *c, const char *text, size_t length) {
    JsonWalk walk = {text, text + length, 0};
    JsonPair pair;
    while (json_next(&walk, &pair))
        if (pair.is_string && json_key_is(&pair, options.send_key) && pair.value_length < sizeof c->id) {
            memcpy(c->id, pair.value, pair.value_length);
            if (options.readers) c->state = READY;
            else read_reply(c);
            return;
        }
    fail(c, "no id in", text, length);
}

static void take_message(Client *c, const char *text, size_t length) {
    JsonWalk walk = {text, text + length, 0};
    JsonPair pair, type = {0}, id = {0};
    frames++;
    while (json_next(&walk, &pair)) {
        if (pair.depth == 1 && json_key_is(&pair, "type")) type = pair;
        if (pair.depth == 1 && json_key_is(&pair, "id")) id = pair;
        if (pair.depth <= 2 && json_key_is(&pair, "errors")) fail(c, "answered by", text, length);
    }
    if (json_value_is(&type, "connection_ack")) {
        c->state = READY;
        opened++;
    } else if (json_value_is(&type, "ping")) {
        Buffer pong = {0};
        buffer_add_text(&pong, "{\"type\":\"pong\"}");
        send_frame(c, FRAME_TEXT, &pong);
    } else if (json_value_is(&type, "error")) {
        fail(c, "answered by", text, length);
    } else if (json_value_is(&type, "next")) {
        if (json_value_is(&id, "send")) take_answer_to_send(c, text, length);
        else take_payload(c, text, length);
    } else if (json_value_is(&type, "complete") && json_value_is(&id, "read")) {
        finish(c);
    }
}

static bool take_handshake(Client *c) {
    char *end = c->in.length ? memmem(c->in.bytes, c->in.length, "\r\n\r\n", 4) : NULL;
    if (end == NULL) return false;
    if (strncmp(c->in.bytes, "HTTP/1.1 101", 12) != 0) {
        fail(c, "no socket:", c->in.bytes, c->in.length);
        return false;
    }
    buffer_drop(&c->in, (size_t)(end + 4 - c->in.bytes));
    c->state = INITIATED;
    Buffer text = {0};
    buffer_add_text(&text, "{\"type\":\"connection_init\",\"payload\":");
    fill(&text, options.init, c);
    buffer_add_text(&text, "}");
    send_frame(c, FRAME_TEXT, &text);
    return true;
}

static void take_frames(Client *c) {
    if (c->state == CONNECTING && !take_handshake(c)) return;
    size_t offset = 0;
    Frame frame;
    while (c->state != FAILED && frame_read(&c->in, &offset, &frame)) {
        if (frame.kind == FRAME_TEXT && frame.final) {
            take_message(c, frame.text, frame.length);
        } else if (frame.kind == FRAME_PING) {
            Buffer pong = {0};
            buffer_add(&pong, frame.text, frame.length);
            send_frame(c, FRAME_PONG, &pong);
        } else if (frame.kind != FRAME_PONG) {
            bool tells = frame.kind == FRAME_CLOSE && frame.length >= 2;
            fail(c, "closed:", frame.text + (tells ? 2 : 0), frame.length - (tells ? 2 : 0));
        }
    }
    if (offset) buffer_drop(&c->in, offset);
}

static bool is_refused(Client *c) {
    if (c->answer.status && c->answer.status != 200) fail(c, "answered by", c->answer.head, strlen(c->answer.head));
    return c->state == FAILED;
}

static void take_events(Client *c) {
    bool whole = answer_read(&c->answer, &c->in);
    if (is_refused(c)) return;
    Buffer *body = &c->answer.body;
    char *at = body->bytes, *end = at + body->length, *line_end;
    while (at < end && c->state != FAILED && (line_end = memchr(at, '\n', (size_t)(end - at)))) {
        if (strncmp(at, "data:", 5) == 0) {
            frames++;
            take_payload(c, at + 5, (size_t)(line_end - at - 5));
        }
        at = line_end + 1;
    }
    if (body->length) buffer_drop(body, (size_t)(at - body->bytes));
    if (whole) finish(c);
}

static void take_answer(Client *c) {
    bool whole = answer_read(&c->answer, &c->in);
    if (is_refused(c) || !whole) return;
    Buffer *body = &c->answer.body;
    int found = 0;
    for (char *at = body->bytes; (at = strstr(at, options.expect)); at += strlen(options.expect)) found++;
    if (found != options.expected) {
        fail(c, "not what was expected:", body->bytes, body->length);
        return;
    }
    sample_add(&answers, (double)(now - c->sent_at));
    requests_done++;
    buffer_drop(body, body->length);
    c->answer = (Answer){0};
    if (requests_sent < options.requests) {
        requests_sent++;
        send_post(c);
    } else {
        c->state = DONE;
        done++;
    }
}

static void receive(Client *c) {
    int64_t before = (int64_t)c->in.length;
    bool alive = socket_read(c->fd, &c->in);
    now = now_us();
    if (alive) {
        bytes_received += (int64_t)c->in.length - before;
        if (strcmp(options.mode, "sse") == 0) take_events(c);
        else if (strcmp(options.mode, "query") == 0) take_answer(c);
        else take_frames(c);
    } else if (c->state == DONE || answer_ends_with_connection(&c->answer)) {
        finish(c);  // an answer without a length ends with its connection
        if (c->fd >= 0) close(c->fd);
        c->fd = -1;
    } else {
        fail(c, "connection lost", "", 0);
    }
}

static void serve(int wait_ms) {
    static struct epoll_event events[1024];
    int ready = epoll_wait(poll_fd, events, 1024, wait_ms);
    for (int i = 0; i < ready; i++) {
        Client *c = events[i].data.ptr;
        if (c->fd >= 0 && events[i].events & EPOLLOUT) flush(c);
        if (c->fd >= 0 && events[i].events & ~(unsigned)EPOLLOUT) receive(c);
    }
}
