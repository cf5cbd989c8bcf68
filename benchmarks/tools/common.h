// What every tool here uses: a clock, a buffer that grows, and sockets that do not block.
#pragma once
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// Microseconds of CLOCK_MONOTONIC, which all processes of a machine share.
static inline int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

typedef struct {
    char *bytes;
    size_t length, capacity;
} Buffer;

// Makes room for `more` bytes and a zero behind them.
static inline void buffer_reserve(Buffer *b, size_t more) {
    if (b->length + more + 1 <= b->capacity) return;
    b->capacity = (b->length + more + 1) * 2;
    b->bytes = realloc(b->bytes, b->capacity);
    if (b->bytes == NULL) abort();
}

static inline void buffer_add(Buffer *b, const void *bytes, size_t length) {
    buffer_reserve(b, length);
    memcpy(b->bytes + b->length, bytes, length);
    b->length += length;
    b->bytes[b->length] = 0;
}

static inline void buffer_add_text(Buffer *b, const char *text) { buffer_add(b, text, strlen(text)); }

__attribute__((format(printf, 2, 3))) static inline void buffer_format(Buffer *b, const char *format, ...) {
    va_list values;
    va_start(values, format);
    int length = vsnprintf(NULL, 0, format, values);
    va_end(values);
    buffer_reserve(b, (size_t)length);
    va_start(values, format);
    vsnprintf(b->bytes + b->length, (size_t)length + 1, format, values);
    va_end(values);
    b->length += (size_t)length;
}

// Drops the first `length` bytes; an empty buffer gives its memory back.
static inline void buffer_drop(Buffer *b, size_t length) {
    b->length -= length;
    if (b->length > 0) {
        memmove(b->bytes, b->bytes + length, b->length);
        b->bytes[b->length] = 0;
    } else {
        free(b->bytes);
        *b = (Buffer){0};
    }
}

static inline void socket_prepare(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
}

static inline struct sockaddr_in local_address(int port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static inline int socket_listen(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = local_address(port);
    if (bind(fd, (void *)&address, sizeof address) || listen(fd, 4096)) {
        perror("listen");
        exit(1);
    }
    return fd;
}

// Connects to a port of this machine; -1 if nobody listens. `held` bytes are kept for a slow reader; 0: the usual.
static inline int socket_connect(int port, int held) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (held) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &held, sizeof held);
    struct sockaddr_in address = local_address(port);
    if (connect(fd, (void *)&address, sizeof address)) {
        close(fd);
        return -1;
    }
    socket_prepare(fd);
    return fd;
}

static inline void poll_add(int poll, int fd, void *owner) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = owner};
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
}

// Sends what the buffer holds; the rest is sent when the socket takes it. Called with nothing to send, it stops
// asking whether the socket takes more. False: the connection is gone.
static inline bool socket_flush(int poll, int fd, void *owner, Buffer *out) {
    size_t sent = 0;
    while (sent < out->length) {
        ssize_t n = send(fd, out->bytes + sent, out->length - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) break;
        if (n < 0) return false;
        sent += (size_t)n;
    }
    bool rest = sent < out->length;
    if (rest || sent == 0) {
        struct epoll_event event = {.events = EPOLLIN | (rest ? EPOLLOUT : 0), .data.ptr = owner};
        epoll_ctl(poll, EPOLL_CTL_MOD, fd, &event);
    }
    if (sent > 0) buffer_drop(out, sent);
    return true;
}

// Reads what has come. False: the connection is gone.
static inline bool socket_read(int fd, Buffer *in) {
    buffer_reserve(in, 16384);
    ssize_t n = recv(fd, in->bytes + in->length, 16384, MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN;
    in->length += (size_t)n;
    in->bytes[in->length] = 0;
    return n > 0;
}
