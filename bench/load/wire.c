/* Bytes: TCP connections, HTTP responses, WebSocket frames (RFC 6455, the client's side). */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROOM = 1 << 20, SOURCES = 64 };

static int poller;
static Link *busy; /* it is being read, and flushed afterwards */

void bytes_add(Bytes *bytes, const void *data, size_t length)
{
    if (bytes->length + length > bytes->room) {
        bytes->room = (bytes->length + length) * 2;
        bytes->data = realloc(bytes->data, bytes->room);
        if (bytes->data == NULL)
            fail("out of memory");
    }
    if (length)
        memcpy(bytes->data + bytes->length, data, length);
    bytes->length += length;
}

void wire_start(void)
{
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0)
        fail("epoll: %s", strerror(errno));
}

/* Many source addresses: ports of one would run short, and be held after a close. */
static void bind_source(int fd)
{
    static unsigned next;
    int yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + next++ % SOURCES);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&address, sizeof address))
        fail("bind: %s", strerror(errno));
}

void link_open(Link *link, Client *client)
{
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    bind_source(fd);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    link->fd = fd;
    link->times++;
    link->http = true;
    link->blocked = false;
    link->client = client;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
        fail("epoll: %s", strerror(errno));
}

void link_close(Link *link)
{
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    link->in.length = link->out.length = 0;
}

static void watch(Link *link, bool blocked)
{
    if (blocked == link->blocked)
        return;
    link->blocked = blocked;
    struct epoll_event event = {.events = EPOLLIN | (blocked ? EPOLLOUT : 0), .data.ptr = link};
    epoll_ctl(poller, EPOLL_CTL_MOD, link->fd, &event);
}

static void flush(Link *link)
{
    if (link->fd < 0 || !link->out.length)
        return;
    ssize_t sent = send(link->fd, link->out.data, link->out.length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        fail("client %d cannot send: %s", link->client->number, strerror(errno));
    if (sent > 0) {
        link->out.length -= (size_t)sent;
        memmove(link->out.data, link->out.data + sent, link->out.length);
    }
    watch(link, link->out.length > 0);
}

void link_write(Link *link, const void *data, size_t length) { bytes_add(&link->out, data, length); }

void link_frame(Link *link, int opcode, const void *data, size_t length)
{
    static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    unsigned char head[14] = {(unsigned char)(0x80 | opcode)};
    size_t size = 2;
    if (length < 126) {
        head[1] = (unsigned char)(0x80 | length);
    } else {
        int bytes = length < 1 << 16 ? 2 : 8;
        head[1] = 0x80 | (bytes == 2 ? 126 : 127);
        for (int i = bytes - 1; i >= 0; i--)
            head[size++] = (unsigned char)((uint64_t)length >> 8 * i);
    }
    memcpy(head + size, mask, 4);
    link_write(link, head, size + 4);
    link_write(link, data, length);
    char *payload = link->out.data + link->out.length - length;
    for (size_t i = 0; i < length; i++)
        payload[i] ^= (char)mask[i & 3];
}

void link_done(Link *link)
{
    if (link != busy)
        flush(link);
}

/* The next response in `data`, if it is whole; returns its length. */
static size_t take_response(Link *link, char *data, size_t length)
{
    char *end = memmem(data, length, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    *end = 0;
    const char *field = strcasestr(data, "\r\ncontent-length:");
    size_t head = (size_t)(end - data) + 4, body = 0;
    int status = length > 12 ? atoi(data + 9) : 0;
    if (field != NULL)
        body = strtoul(field + 17, NULL, 10);
    else if (status != 101)
        fail("a response without a length: %s", data);
    *end = '\r';
    if (length - head < body)
        return 0;
    if (status == 101) {
        link->http = false;
        client_upgraded(link->client);
    } else {
        client_response(link->client, link, status, data + head, body);
    }
    return head + body;
}

/* The next frame in `data`, if it is whole; returns its length. */
static size_t take_frame(Link *link, char *data, size_t length)
{
    const unsigned char *head = (unsigned char *)data;
    if (length < 2)
        return 0;
    if (!(head[0] & 0x80) || head[0] & 0x70 || head[1] & 0x80)
        fail("a frame in parts, compressed or masked");
    size_t size = 2, payload = head[1];
    if (payload > 125) {
        size += payload == 126 ? 2 : 8;
        if (length < size)
            return 0;
        payload = 0;
        for (size_t i = 2; i < size; i++)
            payload = payload << 8 | head[i];
    }
    if (size + payload > ROOM)
        fail("a frame of %zu bytes", payload);
    if (length < size + payload)
        return 0;
    client_frame(link->client, head[0] & 15, data + size, payload);
    return size + payload;
}

static void receive(Link *link)
{
    static char room[ROOM + 1];
    unsigned times = link->times;
    size_t length = link->in.length, used = 0, step;
    memcpy(room, link->in.data ? link->in.data : "", length);
    ssize_t got = recv(link->fd, room + length, ROOM - length, 0);
    if (got < 0 && (errno == EAGAIN || errno == ENOTCONN))
        return;
    if (got <= 0)
        fail("client %d was left by the server: %s", link->client->number,
             got ? strerror(errno) : "closed");
    length += (size_t)got;
    /* What was taken may have closed the link, and opened it again. */
    while (link->fd >= 0 && link->times == times && used < length) {
        step = (link->http ? take_response : take_frame)(link, room + used, length - used);
        if (!step)
            break;
        used += step;
    }
    if (link->fd >= 0 && link->times == times) {
        link->in.length = 0;
        bytes_add(&link->in, room + used, length - used);
    }
}

void wire_wait(Time until)
{
    struct epoll_event events[256];
    Time left = until - clock_now();
    /* Rounded down: what is due within the millisecond is waited for awake. */
    int wait = left <= 0 ? 0 : left > SECOND / 10 ? 100 : (int)(left / 1000000);
    int count = epoll_wait(poller, events, 256, wait);
    for (int i = 0; i < count; i++) {
        Link *link = busy = events[i].data.ptr;
        if (link->fd >= 0 && events[i].events & ~(uint32_t)EPOLLOUT)
            receive(link);
        busy = NULL;
        flush(link);
    }
}
