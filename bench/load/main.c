/* Options in, one line of JSON out. */
#include "load.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char USAGE[] =
    "usage: load WORK --port PORT [options]\n"
    "\n"
    "  loop       each client keeps messages in flight\n"
    "  rate       messages at a fixed rate; latency counts from when they were due\n"
    "  broadcast  one client asks, all receive\n"
    "  storm      clients connect, and leave at once or --stay\n"
    "  leave      all clients but one leave at once, which asks on at --rate\n"
    "  idle       clients are connected\n"
    "\n"
    "  --path P --protocol 4|3|raw --polling     how to connect\n"
    "  --clients N --handshakes N                how many; how many at a time\n"
    "  --event E --ack --size BYTES              what is sent; what answers; 0: text\n"
    "  --inflight N --rate PER_SECOND            how much\n"
    "  --warmup S --seconds S --limit S          how long\n"
    "  --cpu-of PID,PID                          whose CPU time is measured\n";

Options options = {
    .event = "chat", .path = "/socket.io/", .clients = 50, .inflight = 1, .handshakes = 50,
    .protocol = EIO4, .rate = 1000, .warmup = 1, .seconds = 3, .limit = 120,
};

_Noreturn void fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    exit(1);
}

static _Noreturn void usage(void)
{
    fputs(USAGE, stderr);
    exit(2);
}

static void add_pids(char *text)
{
    for (char *each = strtok(text, ","); each != NULL; each = strtok(NULL, ",")) {
        if (options.pid_count == PIDS)
            fail("more than %d processes", PIDS);
        options.pids[options.pid_count++] = (pid_t)atoi(each);
    }
}

static void read_options(int count, char **texts)
{
    enum { PORT = 1, PATH, PROTOCOL, POLLING, CLIENTS, HANDSHAKES, EVENT, ACK, SIZE, INFLIGHT, RATE,
           STAY, WARMUP, SECONDS, LIMIT, CPU_OF };
    static const struct option known[] = {
        {"port", 1, 0, PORT}, {"path", 1, 0, PATH}, {"protocol", 1, 0, PROTOCOL},
        {"polling", 0, 0, POLLING}, {"clients", 1, 0, CLIENTS}, {"handshakes", 1, 0, HANDSHAKES},
        {"event", 1, 0, EVENT}, {"ack", 0, 0, ACK}, {"size", 1, 0, SIZE},
        {"inflight", 1, 0, INFLIGHT}, {"rate", 1, 0, RATE}, {"stay", 0, 0, STAY},
        {"warmup", 1, 0, WARMUP}, {"seconds", 1, 0, SECONDS}, {"limit", 1, 0, LIMIT},
        {"cpu-of", 1, 0, CPU_OF}, {0, 0, 0, 0},
    };
    for (int which; (which = getopt_long(count, texts, "", known, NULL)) != -1;) {
        switch (which) {
        case PORT: options.port = atoi(optarg); break;
        case PATH: options.path = optarg; break;
        case PROTOCOL: options.protocol = (enum Protocol)atoi(optarg); break;
        case POLLING: options.polling = true; break;
        case CLIENTS: options.clients = atoi(optarg); break;
        case HANDSHAKES: options.handshakes = atoi(optarg); break;
        case EVENT: options.event = optarg; break;
        case ACK: options.ack = true; break;
        case SIZE: options.size = strtoul(optarg, NULL, 10); break;
        case INFLIGHT: options.inflight = atoi(optarg); break;
        case RATE: options.rate = atof(optarg); break;
        case STAY: options.stay = true; break;
        case WARMUP: options.warmup = atof(optarg); break;
        case SECONDS: options.seconds = atof(optarg); break;
        case LIMIT: options.limit = atof(optarg); break;
        case CPU_OF: add_pids(optarg); break;
        default: usage();
        }
    }
    if (optind + 1 != count || options.port <= 0 || options.clients <= 0 || options.inflight <= 0 ||
        options.handshakes <= 0 || options.rate <= 0)
        usage();
    options.work = texts[optind];
    if (!strcmp(options.work, "leave"))
        options.clients++; /* who stays */
}

static void report(void)
{
    printf("{\"work\": \"%s\", \"clients\": %d", options.work, options.clients);
    printf(", \"seconds\": %.6f", (double)(run.end.at - run.begin.at) / SECOND);
    printf(", \"messages\": %lld", (long long)run.messages);
    printf(", \"server_cpu\": %.6f", run.end.server - run.begin.server);
    printf(", \"load_cpu\": %.6f", run.end.load - run.begin.load);
    printf(", \"machine_cpu\": %.6f", run.end.busy - run.begin.busy);
    histogram_print("latency_us", &run.latency);
    if (work->report != NULL)
        work->report();
    printf("}\n");
}

int main(int count, char **texts)
{
    read_options(count, texts);
    for (work = works; work->name != NULL && strcmp(work->name, options.work); work++)
        ;
    if (work->name == NULL)
        usage();
    clients = calloc((size_t)options.clients, sizeof *clients);
    if (clients == NULL)
        fail("out of memory");
    for (int i = 0; i < options.clients; i++) {
        clients[i].number = i;
        clients[i].link.fd = clients[i].post.fd = -1;
    }
    run_all();
    report();
    return 0;
}
