/* Words: Engine.IO 3 and 4 and Socket.IO 3 to 5, by WebSocket or by polling. */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void request(Client *client, Link *link, const char *method, const char *more, const Bytes *body)
{
    char text[1024];
    const char *sid = client->sid[0] ? "&sid=" : "";
    int length = snprintf(text, sizeof text,
                          "%s %s?EIO=%d&transport=%s%s%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s", method,
                          options.path, options.protocol, options.polling ? "polling" : "websocket",
                          sid, client->sid, options.port, more);
    link_write(link, text, (size_t)length);
    if (body != NULL) {
        length = snprintf(text, sizeof text,
                          "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %zu\r\n",
                          body->length);
        link_write(link, text, (size_t)length);
    }
    link_write(link, "\r\n", 2);
    if (body != NULL)
        link_write(link, body->data, body->length);
    link_done(link);
}

void client_connect(Client *client)
{
    run.joining++;
    client->here = client->posting = client->attachment = false;
    client->sid[0] = 0;
    client->outbox.length = 0;
    client->since = clock_now();
    link_open(&client->link, client);
    if (options.polling) {
        link_open(&client->post, client);
        request(client, &client->link, "GET", "", NULL);
    } else {
        request(client, &client->link, "GET",
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
                NULL);
    }
}

void client_close(Client *client)
{
    link_close(&client->link);
    link_close(&client->post);
    client->here = false;
}

static void joined(Client *client)
{
    if (client->here)
        return;
    client->here = true;
    run.joining--;
    run.joined++;
    if (work->joined != NULL)
        work->joined(client);
}

static void post(Client *client)
{
    if (client->posting || !client->outbox.length)
        return;
    client->posting = true;
    request(client, &client->post, "POST", "", &client->outbox);
    client->outbox.length = 0;
}

/* Sends an Engine.IO packet. */
void client_text(Client *client, const char *packet)
{
    if (!options.polling) {
        link_frame(&client->link, 1, packet, strlen(packet));
        link_done(&client->link);
        return;
    }
    if (client->outbox.length)
        bytes_add(&client->outbox, "\x1e", 1);
    bytes_add(&client->outbox, packet, strlen(packet));
    post(client);
}

static void send_attachment(Client *client)
{
    static Link draft; /* it is the same for all, and masking is work */
    if (!draft.out.length) {
        /* Engine.IO 3 begins a binary message with its type, 4. */
        size_t head = options.protocol == EIO3;
        char *data = calloc(1, options.size + head);
        if (data == NULL)
            fail("out of memory");
        data[0] = head ? 4 : 0;
        link_frame(&draft, 2, data, options.size + head);
        free(data);
    }
    link_write(&client->link, draft.out.data, draft.out.length);
    link_done(&client->link);
}

/* Sends the event of the options; with `--ack` it asks for the ack `id`. */
void client_event(Client *client, int64_t id)
{
    char text[256], number[24] = "";
    if (options.ack)
        snprintf(number, sizeof number, "%lld", (long long)id);
    if (!options.size) {
        snprintf(text, sizeof text, "42%s[\"%s\",\"hello world!\"]", number, options.event);
        client_text(client, text);
        return;
    }
    snprintf(text, sizeof text, "451-%s[\"%s\",{\"_placeholder\":true,\"num\":0}]", number,
             options.event);
    if (options.protocol != RAW)
        client_text(client, text);
    send_attachment(client);
}

void client_upgraded(Client *client)
{
    if (options.protocol == RAW)
        joined(client);
}

static void opened(Client *client, const char *data, size_t length)
{
    const char *found = memmem(data, length, "\"sid\":\"", 7);
    if (found == NULL)
        fail("a handshake without a sid: %.*s", (int)length, data);
    size_t room = (size_t)(data + length - (found + 7));
    const char *end = memchr(found + 7, '"', room);
    if (options.polling && end != NULL)
        snprintf(client->sid, sizeof client->sid, "%.*s", (int)(end - found - 7), found + 7);
    if (options.protocol == EIO4)
        client_text(client, "40");
}

/* An event or an ack is whole. */
static void arrived(Client *client, const char *data, size_t length, int64_t id)
{
    if (length > 7 && !memcmp(data, "[\"news\"", 7)) {
        if (work->delivered != NULL)
            work->delivered(client);
    } else if (work->answered != NULL) {
        work->answered(client, id);
    }
}

/* A Socket.IO packet: type, attachments, ack id, payload; the namespace is always "/". */
static void message(Client *client, const char *data, size_t length)
{
    const char *at = data + 1, *end = data + length;
    char type = length ? data[0] : '?';
    if (type == '5' || type == '6') {
        at = memchr(data, '-', length);
        if (at++ == NULL)
            fail("a binary packet without attachments");
    }
    int64_t id = -1;
    for (; at < end && *at >= '0' && *at <= '9'; at++)
        id = (id < 0 ? 0 : id) * 10 + *at - '0';
    if (type == '0') {
        joined(client);
    } else if (type == '5' || type == '6') {
        client->attachment = true;
        client->pending = id;
    } else if (type == '2' || type == '3') {
        arrived(client, at, (size_t)(end - at), id);
    } else {
        fail("client %d was refused: %.*s", client->number, (int)length, data);
    }
}

static void packet(Client *client, const char *data, size_t length)
{
    if (!length)
        return;
    if (data[0] == '0')
        opened(client, data, length);
    else if (data[0] == '2')
        client_text(client, "3");
    else if (data[0] == '4')
        message(client, data + 1, length - 1);
    else if (data[0] == '1')
        fail("client %d was closed by the server", client->number);
}

void client_frame(Client *client, int opcode, const char *data, size_t length)
{
    if (opcode == 9) {
        link_frame(&client->link, 10, data, length);
    } else if (opcode == 8) {
        fail("client %d was closed by the server, code %d", client->number,
             length > 1 ? (unsigned char)data[0] << 8 | (unsigned char)data[1] : 0);
    } else if (options.protocol == RAW) {
        arrived(client, "", 0, -1);
    } else if (opcode == 1) {
        packet(client, data, length);
    } else if (opcode == 2 && client->attachment) {
        client->attachment = false;
        arrived(client, "", 0, client->pending);
    }
}

void client_response(Client *client, Link *link, int status, const char *data, size_t length)
{
    if (status != 200)
        fail("client %d got HTTP %d: %.*s", client->number, status, (int)length, data);
    if (link == &client->post) {
        client->posting = false;
        post(client);
        return;
    }
    for (const char *end = data + length; data < end;) {
        const char *next = memchr(data, 0x1e, (size_t)(end - data));
        size_t size = (size_t)((next ? next : end) - data);
        packet(client, data, size);
        data += size + 1;
    }
    if (client->link.fd >= 0)
        request(client, &client->link, "GET", "", NULL);
}
