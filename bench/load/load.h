/* A load generator for Socket.IO servers: any number of clients in one thread, loopback only.
 *
 *   wire.c       bytes: TCP, HTTP responses, WebSocket frames
 *   client.c     words: Engine.IO 3 and 4, Socket.IO 3 to 5, polling and WebSocket
 *   works.c      what the clients do, and what of it is measured
 *   run.c        when: joining, warming up, measuring, draining
 *   clock.c      time, CPU time and the histogram
 *   main.c       options in, one line of JSON out
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef int64_t Time; /* nanoseconds of the monotonic clock */
#define SECOND INT64_C(1000000000)
#define NEVER INT64_MAX

enum { PIDS = 64 };
enum Protocol { RAW = 0, EIO3 = 3, EIO4 = 4 };

typedef struct {
    const char *work, *event, *path;
    int port, clients, inflight, handshakes;
    enum Protocol protocol; /* RAW: a WebSocket that echoes */
    size_t size;            /* bytes of the attachment; 0: text */
    bool polling, ack, stay;
    double rate, warmup, seconds, limit;
    pid_t pids[PIDS]; /* the server's processes */
    int pid_count;
} Options;

typedef struct {
    char *data;
    size_t length, room;
} Bytes;

typedef struct Client Client;

typedef struct {
    int fd;         /* -1: closed */
    unsigned times; /* it was opened */
    bool http;      /* HTTP responses come, not frames */
    bool blocked;   /* there is something to send and no room for it */
    Client *client;
    Bytes in, out; /* not parsed yet, not sent yet */
} Link;

struct Client {
    int number;
    bool here, posting, attachment;
    Link link, post; /* `post` is for polling, and then `link` carries the GETs */
    Bytes outbox;    /* what the next POST carries */
    char sid[64];
    int64_t pending;              /* the ack id of the packet that waits for its attachment */
    int64_t owed, sent, answered; /* messages */
    Time since, *at;              /* of the connect; of each message in flight */
};

typedef struct {
    int64_t count, counts[4096];
    double sum;
    int64_t most;
} Histogram;

typedef struct {
    Time at;
    double server, load, busy; /* CPU seconds: the server's, this process's, the machine's */
} Mark;

enum Phase { JOINING, WARMING, MEASURING, DRAINING, OVER };

typedef struct {
    enum Phase phase;
    int joining, joined;
    Time since; /* the last client joined */
    Mark begin, end;
    int64_t messages;
    Histogram latency;
} Run;

typedef struct {
    const char *name;
    bool storms; /* joining is the work */
    void (*begin)(void);
    void (*joined)(Client *);
    void (*answered)(Client *, int64_t id); /* -1: by an event, not by an ack */
    void (*delivered)(Client *);
    Time (*tick)(Time now);     /* returns when to be called next */
    bool (*finished)(Time now); /* NULL: after options.seconds */
    bool (*settled)(void);      /* NULL: nothing is waited for after the end */
    void (*report)(void);       /* more of the JSON */
} Work;

extern Options options;
extern Run run;
extern Client *clients;
extern const Work *work;
extern const Work works[];

_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* clock.c */
Time clock_now(void);
Mark clock_mark(void);
void histogram_add(Histogram *, int64_t);
void histogram_print(const char *name, const Histogram *);

/* wire.c */
void bytes_add(Bytes *, const void *, size_t);
void wire_start(void);
void wire_wait(Time until);
void link_open(Link *, Client *);
void link_close(Link *);
void link_write(Link *, const void *, size_t);
void link_frame(Link *, int opcode, const void *, size_t);
void link_done(Link *); /* what was written goes out */

/* client.c: downwards */
void client_connect(Client *);
void client_close(Client *);
void client_text(Client *, const char *);
void client_event(Client *, int64_t id);
/* client.c: upwards, from the wire; the data ends with what `length` says */
void client_upgraded(Client *);
void client_response(Client *, Link *, int status, const char *, size_t length);
void client_frame(Client *, int opcode, const char *, size_t length);

/* run.c */
void run_all(void);
void measure(Time latency);

#endif
