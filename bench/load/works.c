/* What the clients do, and what of it is measured. */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>

enum { OWED_AT_ONCE = 256, LEAVING_AT_ONCE = 50 };

/* loop: each client keeps `inflight` messages under way, and sends the next for each answer. */

static void loop_begin(void)
{
    for (int i = 0; i < options.clients; i++) {
        Client *client = &clients[i];
        client->at = calloc((size_t)options.inflight, sizeof *client->at);
        for (int slot = 0; slot < options.inflight; slot++) {
            client->at[slot] = clock_now();
            client_event(client, slot + 1);
        }
    }
}

static void loop_answered(Client *client, int64_t id)
{
    int64_t slot = id < 0 ? client->answered++ % options.inflight : id - 1;
    if (slot < 0 || slot >= options.inflight)
        fail("an ack with the id %lld, which nobody asked for", (long long)id);
    Time now = clock_now();
    measure(now - client->at[slot]);
    client->at[slot] = now;
    client_event(client, slot + 1);
}

/* rate: messages are sent when they are due, whatever became of those before; and latency counts
 * from then, so that a server that stops for a while pays for every message due meanwhile. */

static Time rate_start;
static int64_t rate_due;
static int rate_clients;

static Time due(int64_t number) { return rate_start + (Time)((double)number * SECOND / options.rate); }

static void rate_begin(void)
{
    rate_start = clock_now();
    rate_clients = options.clients;
}

static void send_owed(Client *client)
{
    while (client->sent < client->owed && client->sent - client->answered < OWED_AT_ONCE)
        client_event(client, ++client->sent);
}

static Time rate_tick(Time now)
{
    if (run.phase != WARMING && run.phase != MEASURING)
        return NEVER;
    for (; due(rate_due) <= now; rate_due++) {
        Client *client = &clients[rate_due % rate_clients];
        client->owed++;
        send_owed(client);
    }
    return due(rate_due);
}

static void rate_answered(Client *client, int64_t id)
{
    int64_t number = id < 0 ? client->answered : id - 1;
    client->answered++;
    Time intended = due(number * rate_clients + client->number);
    if (run.phase >= MEASURING && intended >= run.begin.at)
        measure(clock_now() - intended);
    send_owed(client);
}

static bool rate_settled(void)
{
    for (int i = 0; i < rate_clients; i++)
        if (clients[i].answered < clients[i].owed)
            return false;
    return true;
}

static void rate_report(void)
{
    int64_t unanswered = 0;
    for (int i = 0; i < rate_clients; i++)
        unanswered += clients[i].owed - clients[i].answered;
    printf(", \"unanswered\": %lld", (long long)unanswered);
}

/* broadcast: the first client asks for one when the one before has reached everybody. A message
 * is one delivery; latency is that of the last recipient. */

static int missing;
static Time asked;

static void broadcast_begin(void)
{
    missing = options.clients;
    asked = clock_now();
    client_event(&clients[0], 1);
}

static void broadcast_delivered(Client *client)
{
    (void)client;
    if (run.phase == MEASURING)
        run.messages++;
    if (--missing)
        return;
    if (run.phase == MEASURING)
        histogram_add(&run.latency, clock_now() - asked);
    broadcast_begin();
}

/* storm: clients connect, as many at a time as `handshakes` says, and leave at once. Those that
 * are measured stay if `--stay` says so, and then the run ends when `clients` are there. */

static int storm_next;

static void storm_joined(Client *client)
{
    measure(clock_now() - client->since);
    if (!options.stay || run.phase != MEASURING) {
        client_close(client);
        client_connect(client);
    } else if (storm_next < options.clients) {
        client_connect(&clients[storm_next++]);
    }
}

static Time storm_tick(Time now)
{
    (void)now;
    while (storm_next < options.handshakes && storm_next < options.clients)
        client_connect(&clients[storm_next++]);
    return NEVER;
}

static bool storm_finished(Time now)
{
    if (options.stay)
        return run.messages >= options.clients;
    return now - run.begin.at >= (Time)(options.seconds * SECOND);
}

/* leave: all but the first client leave at once; the first asks for acks at a fixed rate, for
 * `seconds` before and `seconds` after. The server's CPU is what it used more, afterwards. */

static Mark leave_mark;
static Histogram leave_before;
static int leave_next;

static void leave_begin(void)
{
    rate_begin();
    rate_clients = 1;
}

static Time leave_tick(Time now)
{
    /* In slices, or the probe would wait for this process instead of the server. */
    for (int i = 0; leave_next && leave_next < options.clients && i < LEAVING_AT_ONCE; i++)
        client_close(&clients[leave_next++]);
    Time wake = rate_tick(now);
    return leave_next && leave_next < options.clients ? now : wake;
}

static bool leave_finished(Time now)
{
    Time window = (Time)(options.seconds * SECOND);
    if (!leave_next && now - run.begin.at >= window) {
        leave_mark = clock_mark();
        leave_before = run.latency;
        run.latency = (Histogram){0};
        leave_next = 1;
    }
    return leave_next == options.clients && now - leave_mark.at >= window;
}

static void leave_report(void)
{
    double before = leave_mark.server - run.begin.server, after = run.end.server - leave_mark.server;
    double share = (double)(run.end.at - leave_mark.at) / (double)(leave_mark.at - run.begin.at);
    printf(", \"leavers\": %d, \"leaving_cpu\": %.6f", options.clients - 1, after - before * share);
    histogram_print("before_us", &leave_before);
    rate_report();
}

const Work works[] = {
    {.name = "loop", .begin = loop_begin, .answered = loop_answered},
    {.name = "rate", .begin = rate_begin, .answered = rate_answered, .tick = rate_tick,
     .settled = rate_settled, .report = rate_report},
    {.name = "broadcast", .begin = broadcast_begin, .delivered = broadcast_delivered},
    {.name = "storm", .storms = true, .joined = storm_joined, .tick = storm_tick,
     .finished = storm_finished},
    {.name = "leave", .begin = leave_begin, .answered = rate_answered, .tick = leave_tick,
     .finished = leave_finished, .settled = rate_settled, .report = leave_report},
    {.name = "idle"},
    {.name = NULL},
};
