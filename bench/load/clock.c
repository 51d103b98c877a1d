/* Time, CPU time and the histogram. */
#include "load.h"

#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static double seconds_of(struct timespec time) { return (double)time.tv_sec + (double)time.tv_nsec / 1e9; }

Time clock_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static double server_cpu(void)
{
    double sum = 0;
    for (int i = 0; i < options.pid_count; i++) {
        clockid_t clock;
        struct timespec time;
        /* To the nanosecond, where utime and stime of /proc count hundredths of a second. */
        if (clock_getcpuclockid(options.pids[i], &clock) || clock_gettime(clock, &time))
            fail("process %d of the server is gone", (int)options.pids[i]);
        sum += seconds_of(time);
    }
    return sum;
}

/* The machine's, to see whether others were at work meanwhile. */
static double busy_cpu(void)
{
    unsigned long long user = 0, nice = 0, system = 0, irq = 0, softirq = 0, steal = 0;
    FILE *file = fopen("/proc/stat", "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "cpu %llu %llu %llu %*u %*u %llu %llu %llu", &user, &nice, &system, &irq,
               &softirq, &steal) != 6)
        user = nice = system = irq = softirq = steal = 0;
    fclose(file);
    return (double)(user + nice + system + irq + softirq + steal) / (double)sysconf(_SC_CLK_TCK);
}

Mark clock_mark(void)
{
    struct timespec own;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    return (Mark){clock_now(), server_cpu(), seconds_of(own), busy_cpu()};
}

/* 64 slots for each power of two, as in HdrHistogram: a value is known to 1.6 %. */
static int slot_of(uint64_t value)
{
    if (value < 64)
        return (int)value;
    int shift = 57 - __builtin_clzll(value);
    return shift * 64 + (int)(value >> shift);
}

static int64_t top_of(int slot)
{
    if (slot < 128)
        return slot;
    int shift = slot / 64 - 1;
    return ((int64_t)(slot - shift * 64 + 1) << shift) - 1;
}

void histogram_add(Histogram *histogram, int64_t value)
{
    if (value < 0)
        value = 0;
    histogram->counts[slot_of((uint64_t)value)]++;
    histogram->count++;
    histogram->sum += (double)value;
    if (value > histogram->most)
        histogram->most = value;
}

static double quantile(const Histogram *histogram, double share)
{
    int64_t seen = 0, wanted = (int64_t)(share * (double)histogram->count + 0.5);
    for (int slot = 0; slot < 4096; slot++) {
        seen += histogram->counts[slot];
        if (seen && seen >= wanted)
            return (double)(top_of(slot) < histogram->most ? top_of(slot) : histogram->most);
    }
    return 0;
}

void histogram_print(const char *name, const Histogram *histogram)
{
    double count = histogram->count ? (double)histogram->count : 1;
    printf(", \"%s\": {\"count\": %lld, \"mean\": %.1f", name, (long long)histogram->count,
           histogram->sum / count / 1e3);
    printf(", \"p50\": %.1f, \"p90\": %.1f", quantile(histogram, .5) / 1e3,
           quantile(histogram, .9) / 1e3);
    printf(", \"p99\": %.1f, \"p99.9\": %.1f, \"max\": %.1f}", quantile(histogram, .99) / 1e3,
           quantile(histogram, .999) / 1e3, (double)histogram->most / 1e3);
}
