/* ws - see ws.h; frames are parsed by wslay. */
#include "broker/transport/ws.h"

#include "broker/transport/upgrade.h"
#include "shared/base/err.h"
#include "shared/base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

enum {
    WIRE_MAX_BYTES    = 256 * 1024, /* enough for a send, small enough to leave room for others */
    HEADER_MAX_BYTES  = 5,          /* of a packet: its type and its length */
    CONTROL_MAX_BYTES = 125,
    WHY_MAX_BYTES     = 120,
    PIECES_MAX        = 64
};

/* Registered behind RFC 6455 (IANA, WebSocket Close Code Number Registry); wslay has no names for them. */
enum { CODE_SERVICE_RESTART = 1012, CODE_TRY_AGAIN_LATER = 1013, CODE_BAD_GATEWAY = 1014 };

struct ws {
    const char             *path;
    struct upgrade         *upgrade; /* until it is through */
    wslay_frame_context_ptr frames;  /* from then on */
    struct bytes            in;      /* while ws_receive runs */
    uint64_t                left;    /* payload bytes of the current frame that have not come */
    uint8_t                 control[CONTROL_MAX_BYTES];
    uint8_t                 control_bytes;
    uint8_t                 pong_bytes;
    uint8_t                 pong[CONTROL_MAX_BYTES]; /* owed, once the frame to the client is whole */
    bool                    pong_owed;
    size_t                  out_left; /* of the frame to the client that is begun */
    bool                    in_frame;
    bool                    in_message; /* a fragment came that is not the last */
    bool                    ended;
    char                    why[WHY_MAX_BYTES];
};

static ssize_t feed(uint8_t *out, size_t size, int flags, void *ctx)
{
    (void)flags;
    struct ws *ws   = ctx;
    size_t     part = ws->in.size < size ? ws->in.size : size;
    if (part == 0) {
        return -1; /* wslay: nothing now */
    }
    memcpy(out, ws->in.data, part);
    ws->in = bytes_of(ws->in.data + part, ws->in.size - part);
    return (ssize_t)part;
}

struct ws *ws_new(const char *path)
{
    static const struct wslay_frame_callbacks callbacks = {.recv_callback = feed};
    struct ws                                *ws        = calloc(1, sizeof *ws);
    if (ws == NULL) {
        return NULL;
    }
    ws->path    = path;
    ws->upgrade = upgrade_new(path);
    if (ws->upgrade == NULL || wslay_frame_context_init(&ws->frames, &callbacks, ws) != 0) {
        ws_free(ws);
        return NULL;
    }
    return ws;
}

void ws_free(struct ws *ws)
{
    if (ws != NULL) {
        upgrade_free(ws->upgrade);
        wslay_frame_context_free(ws->frames);
        free(ws);
    }
}

/* ---- to the client --------------------------------------------------------------------------------------------------- */

static int put_head(struct outq *out, uint8_t opcode, size_t size)
{
    uint8_t head[10] = {(uint8_t)(0x80 | opcode)};
    size_t  used     = 2;
    if (size <= CONTROL_MAX_BYTES) {
        head[1] = (uint8_t)size;
    } else if (size <= UINT16_MAX) {
        head[1] = 126;
        head[2] = (uint8_t)(size >> 8);
        head[3] = (uint8_t)size;
        used    = 4;
    } else {
        head[1] = 127;
        for (int i = 0; i < 8; i++) {
            head[2 + i] = (uint8_t)((uint64_t)size >> (56 - 8 * i));
        }
        used = 10;
    }
    return outq_put(out, bytes_of(head, used));
}

/* Answers are small; one that finds no memory is left out, and the connection ends without it. */
static void put_control(struct outq *out, uint8_t opcode, struct bytes payload)
{
    if (put_head(out, opcode, payload.size) == 0 && payload.size != 0) {
        (void)!outq_put(out, payload);
    }
}

static void put_close(struct ws *ws, struct outq *out, uint16_t code)
{
    const uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};
    if (!ws->ended && ws->out_left == 0) { /* nothing can be said inside of a frame */
        put_control(out, WSLAY_CONNECTION_CLOSE, bytes_of(payload, sizeof payload));
    }
    ws->ended = true;
}

static int fault(struct ws *ws, struct outq *out, uint16_t code, const char *why)
{
    snprintf(ws->why, sizeof ws->why, "WebSocket: %s", why);
    put_close(ws, out, code);
    return ERR_MALFORMED;
}

/* Control frames stand between frames: the last PING is answered when there is room. */
static void pay_pong(struct ws *ws, struct outq *out)
{
    if (ws->pong_owed && ws->out_left == 0) {
        ws->pong_owed = false;
        put_control(out, WSLAY_PONG, bytes_of(ws->pong, ws->pong_bytes));
    }
}

/* The length of the packet at the front of the pieces; 0: they end inside its header. */
static size_t packet_bytes(const struct iovec *iov, int count)
{
    size_t size  = 0;
    int    index = 0; /* of the byte in the header */
    for (int i = 0; i < count; i++) {
        const uint8_t *at = iov[i].iov_base;
        for (size_t j = 0; j < iov[i].iov_len && index < HEADER_MAX_BYTES; j++, index++) {
            size |= index == 0 ? 0 : (size_t)(at[j] & 0x7f) << (7 * (index - 1));
            if (index > 0 && (at[j] & 0x80) == 0) {
                return (size_t)index + 1 + size;
            }
        }
    }
    return 0;
}

/* Moves what one look at the queue shows, and says how much that was; 0: nothing can be moved now. */
static ssize_t send_some(struct ws *ws, struct outq *plain, struct outq *out)
{
    struct iovec iov[PIECES_MAX];
    int          count = outq_gather(plain, iov, PIECES_MAX);
    size_t       moved = 0;
    for (int i = 0; i < count && out->size_bytes < WIRE_MAX_BYTES;) {
        if (ws->out_left == 0) {
            pay_pong(ws, out);
            ws->out_left = packet_bytes(iov + i, count - i);
            if (ws->out_left == 0) {
                break;
            }
            if (put_head(out, WSLAY_BINARY_FRAME, ws->out_left) != 0) {
                return ERR_FULL;
            }
        }
        size_t room = WIRE_MAX_BYTES - out->size_bytes;
        size_t size = iov[i].iov_len < ws->out_left ? iov[i].iov_len : ws->out_left;
        size        = size < room ? size : room;
        if (outq_put(out, bytes_of(iov[i].iov_base, size)) != 0) {
            return ERR_FULL; /* in the middle of a frame: the connection is of no more use */
        }
        iov[i].iov_base = (uint8_t *)iov[i].iov_base + size;
        iov[i].iov_len -= size;
        ws->out_left -= size;
        moved += size;
        i += iov[i].iov_len == 0;
    }
    outq_consume(plain, moved);
    return (ssize_t)moved;
}

int ws_send(struct ws *ws, struct outq *plain, struct outq *out)
{
    if (ws->upgrade != NULL || ws->ended) {
        return 0;
    }
    ssize_t moved = 1;
    while (moved > 0 && plain->size_bytes > 0) {
        moved = send_some(ws, plain, out);
    }
    pay_pong(ws, out);
    return moved < 0 ? ERR_FULL : 0;
}

void ws_end(struct ws *ws, struct outq *out)
{
    if (ws->upgrade == NULL) {
        put_close(ws, out, WSLAY_CODE_NORMAL_CLOSURE);
    }
}

/* ---- from the client ------------------------------------------------------------------------------------------------- */

/* What the head of a frame must be. NULL: fine. */
static const char *head_fault(const struct ws *ws, const struct wslay_frame_iocb *head, uint16_t *code)
{
    *code = WSLAY_CODE_PROTOCOL_ERROR;
    if (head->mask == 0) {
        return "a frame of a client must be masked";
    }
    if (head->rsv != 0) {
        return "a frame uses an extension that was not agreed";
    }
    switch (head->opcode) {
    case WSLAY_CONTINUATION_FRAME:
        return ws->in_message ? NULL : "a continuation without a beginning";
    case WSLAY_BINARY_FRAME:
        return ws->in_message ? "a new message inside of another" : NULL;
    case WSLAY_TEXT_FRAME:
        *code = WSLAY_CODE_UNSUPPORTED_DATA;
        return "MQTT lies in binary frames, this is a text frame";
    case WSLAY_CONNECTION_CLOSE:
    case WSLAY_PING:
    case WSLAY_PONG:
        return head->fin == 0 || head->payload_length > CONTROL_MAX_BYTES ? "a control frame is too long or in pieces"
                                                                          : NULL;
    default:
        return "an unknown kind of frame";
    }
}

/* Codes that a frame may carry: those of the standard and its register, without the ones that only tell an application what it did not
 * get from the wire (RFC 6455, 7.4). */
static bool close_code_valid(unsigned code)
{
    switch (code) {
    case WSLAY_CODE_NORMAL_CLOSURE:
    case WSLAY_CODE_GOING_AWAY:
    case WSLAY_CODE_PROTOCOL_ERROR:
    case WSLAY_CODE_UNSUPPORTED_DATA:
    case WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA:
    case WSLAY_CODE_POLICY_VIOLATION:
    case WSLAY_CODE_MESSAGE_TOO_BIG:
    case WSLAY_CODE_MANDATORY_EXT:
    case WSLAY_CODE_INTERNAL_SERVER_ERROR:
    case CODE_SERVICE_RESTART:
    case CODE_TRY_AGAIN_LATER:
    case CODE_BAD_GATEWAY:
        return true;
    default:
        return code >= 3000 && code <= 4999; /* of libraries, and for private use */
    }
}

/* A code comes back as it came; what may not be in a close frame is a fault like any other (RFC 6455, 5.5.1 and 7.1.6). */
static int close_asked(struct ws *ws, struct bytes payload, struct outq *out)
{
    unsigned code = WSLAY_CODE_NORMAL_CLOSURE;
    if (payload.size == 1) {
        return fault(ws, out, WSLAY_CODE_PROTOCOL_ERROR, "a close frame with half a code");
    }
    if (payload.size != 0) {
        code = (unsigned)(payload.data[0] << 8 | payload.data[1]);
        if (!close_code_valid(code)) {
            return fault(ws, out, WSLAY_CODE_PROTOCOL_ERROR, "a close frame with a code that may not be sent");
        }
        if (!utf8_valid(bytes_of(payload.data + 2, payload.size - 2))) {
            return fault(ws, out, WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA, "the reason in a close frame is not UTF-8");
        }
    }
    snprintf(ws->why, sizeof ws->why, "the client ended the WebSocket");
    put_close(ws, out, (uint16_t)code);
    return ERR_CLOSED;
}

static int control_ended(struct ws *ws, uint8_t opcode, struct outq *out)
{
    struct bytes payload = bytes_of(ws->control, ws->control_bytes);
    if (opcode == WSLAY_PING) {
        memcpy(ws->pong, ws->control, ws->control_bytes);
        ws->pong_bytes = ws->control_bytes;
        ws->pong_owed  = true;
        pay_pong(ws, out);
    } else if (opcode == WSLAY_CONNECTION_CLOSE) {
        return close_asked(ws, payload, out);
    }
    return 0;
}

/* A part of a frame, perhaps its head alone. */
static int part(struct ws *ws, const struct wslay_frame_iocb *frame, size_t size, const struct transport_sink *sink,
                struct outq *out)
{
    if (!ws->in_frame) {
        uint16_t    code;
        const char *why = head_fault(ws, frame, &code);
        if (why != NULL) {
            return fault(ws, out, code, why);
        }
        ws->in_frame      = true;
        ws->left          = frame->payload_length;
        ws->control_bytes = 0;
    }
    bool control = wslay_is_ctrl_frame(frame->opcode) != 0;
    ws->left -= size;
    if (!control && size != 0) {
        sink->data(sink->ctx, bytes_of(frame->data, size));
    } else if (control && size != 0) {
        memcpy(ws->control + ws->control_bytes, frame->data, size);
        ws->control_bytes = (uint8_t)(ws->control_bytes + size);
    }
    if (ws->left != 0) {
        return 0;
    }
    ws->in_frame = false;
    if (control) {
        return control_ended(ws, frame->opcode, out);
    }
    ws->in_message = frame->fin == 0;
    return 0;
}

static int frames(struct ws *ws, const struct transport_sink *sink, struct outq *out)
{
    for (;;) {
        struct wslay_frame_iocb frame = {0};
        ssize_t                 size  = wslay_frame_recv(ws->frames, &frame);
        if (size == WSLAY_ERR_WANT_READ) {
            return 0;
        }
        if (size < 0) {
            return fault(ws, out, WSLAY_CODE_PROTOCOL_ERROR, "a frame is malformed");
        }
        int result = part(ws, &frame, (size_t)size, sink, out);
        if (result != 0) {
            return result;
        }
    }
}

int ws_receive(struct ws *ws, struct bytes in, const struct transport_sink *sink, struct outq *out)
{
    if (ws->ended) {
        return ERR_CLOSED;
    }
    if (ws->upgrade != NULL) {
        size_t used   = 0;
        int    status = upgrade_feed(ws->upgrade, in, &used);
        if (status == 0) {
            return 0;
        }
        if (outq_put(out, upgrade_answer(ws->upgrade)) != 0 || status != 101) {
            snprintf(ws->why, sizeof ws->why, "the WebSocket upgrade was answered with HTTP status %d", status);
            ws->ended = true;
            return ERR_MALFORMED;
        }
        upgrade_free(ws->upgrade);
        ws->upgrade = NULL;
        in          = bytes_of(in.data + used, in.size - used);
    }
    ws->in     = in;
    int result = frames(ws, sink, out);
    ws->in     = (struct bytes){0};
    return result;
}

bool ws_established(const struct ws *ws)
{
    return ws->upgrade == NULL;
}

const char *ws_why(const struct ws *ws)
{
    return ws->why;
}
