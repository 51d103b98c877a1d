/* When: clients join, the server warms up, the work is measured, the last answers drain. */
#include "load.h"

#include <stdio.h>

static const Time DRAIN = 5 * SECOND;  /* that answers may be late */
static const Time PING = 20 * SECOND;  /* between an Engine.IO 3 client's */

Run run;
Client *clients;
const Work *work;

void measure(Time latency)
{
    if (run.phase == MEASURING)
        run.messages++;
    if (run.phase >= MEASURING)
        histogram_add(&run.latency, latency);
}

static void join(void)
{
    static int next;
    while (next < options.clients && run.joining < options.handshakes)
        client_connect(&clients[next++]);
}

static void enter(enum Phase phase, Time now)
{
    run.phase = phase;
    run.since = now;
    if (phase == MEASURING)
        run.begin = clock_mark();
    if (phase == DRAINING)
        run.end = clock_mark();
}

static bool past(Time now, double seconds) { return now - run.since >= (Time)(seconds * SECOND); }

static void advance(Time now)
{
    if (run.phase == JOINING) {
        if (!work->storms)
            join();
        if (!work->storms && run.joined < options.clients)
            return;
        printf("{\"ready\": %d}\n", run.joined);
        fflush(stdout);
        enter(WARMING, now);
        if (work->begin != NULL)
            work->begin();
    } else if (run.phase == WARMING) {
        if (past(now, options.warmup))
            enter(MEASURING, now);
    } else if (run.phase == MEASURING) {
        if (work->finished != NULL ? work->finished(now) : past(now, options.seconds))
            enter(DRAINING, now);
    } else if (run.phase == DRAINING) {
        if (work->settled == NULL || work->settled() || now - run.since >= DRAIN)
            enter(OVER, now);
    }
}

/* In Engine.IO 3 it is the client that pings; each has its own turn within PING. */
static void ping(Time now)
{
    static Time start, turn;
    if (options.protocol != EIO3 || run.phase == JOINING)
        return;
    if (!start)
        start = now;
    for (; turn * (PING / options.clients) < now - start; turn++)
        if (clients[turn % options.clients].here)
            client_text(&clients[turn % options.clients], "2");
}

void run_all(void)
{
    Time end = clock_now() + (Time)(options.limit * SECOND);
    wire_start();
    while (run.phase != OVER) {
        Time now = clock_now();
        if (now > end)
            fail("no end after %g s: %d of %d clients joined, %lld messages", options.limit,
                 run.joined, options.clients, (long long)run.messages);
        advance(now);
        ping(now);
        wire_wait(work->tick != NULL && run.phase != JOINING ? work->tick(now) : NEVER);
    }
}
