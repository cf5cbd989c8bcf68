// What a process and all that it has started use: CPU time and memory.
#pragma once
#include "common.h"

typedef struct {
    double cpu_us;
    long memory_kb;
} Usage;

static inline double process_clock_us(int pid) {
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t)) return 0;
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

// CPU time of children that have ended and were waited for; the kernel gives it in ticks.
static inline double ended_children_us(int pid) {
    char path[64], line[2048];
    unsigned long user = 0, kernel = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    char *fields = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;  // a name may hold spaces
    fclose(file);
    if (fields == NULL) return 0;
    sscanf(fields + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
    return (double)(user + kernel) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

static inline long resident_kb(int pid) {
    char path[64];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    if (fscanf(file, "%*d %ld", &pages) != 1) pages = 0;
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

// A process and its descendants, the ended ones included. Pid 0 uses nothing.
static inline Usage usage_of(int pid) {
    if (pid == 0) return (Usage){0};
    Usage sum = {process_clock_us(pid) + ended_children_us(pid), resident_kb(pid)};
    char path[64];
    int child;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) return sum;
    while (fscanf(file, "%d", &child) == 1) {
        Usage part = usage_of(child);
        sum.cpu_us += part.cpu_us;
        sum.memory_kb += part.memory_kb;
    }
    fclose(file);
    return sum;
}
