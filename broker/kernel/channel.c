/* channel - go back to the first byte that is not acknowledged: what is lost is rare, and order is kept without a list. */
#include "broker/kernel/channel.h"

#include "shared/base/hash.h"

enum { MAIL_HEAD_BYTES = 20, OUT_KEEP_BYTES = 64 * 1024, OUT_MAX_BYTES = 16 << 20, SUM_AT = 16, SUMMED_AT = 24 };
static const uint64_t patience_first_ns = 50000000;
static const uint64_t patience_last_ns  = 1000000000;

void channel_init(struct channel *c, uint64_t to, uint64_t from, uint32_t way)
{
    *c             = (struct channel){.to = to, .from = from, .again_ns = UINT64_MAX, .way = way};
    c->patience_ns = patience_first_ns;
    c->out         = wire_writer_growing(OUT_MAX_BYTES);
    c->in          = wire_writer_growing(OUT_MAX_BYTES);
}

void channel_fini(struct channel *c)
{
    wire_writer_fini(&c->out);
    wire_writer_fini(&c->in);
}

bool channel_put(struct channel *c, const struct kernel_mail *mail, struct bytes bytes)
{
    if (c->out.size - c->done > CHANNEL_FULL_BYTES) {
        return false;
    }
    size_t before = c->out.size;
    wire_put_u32(&c->out, mail->kind);
    wire_put_u32(&c->out, mail->number);
    wire_put_u64(&c->out, mail->value);
    wire_put_u32(&c->out, (uint32_t)(sizeof(uint32_t) + bytes.size));
    wire_put_bytes(&c->out, bytes);
    if (c->out.bad) { /* no memory now */
        c->out.size = before;
        c->out.bad  = false;
        return false;
    }
    return true;
}

/* What was acknowledged is moved away when it is the greater part: each byte is moved once at most. */
static void forget(struct channel *c, uint64_t acked)
{
    c->done += (size_t)(acked - c->acked);
    c->acked = acked;
    if (c->done == c->out.size) {
        if (c->out.capacity > OUT_KEEP_BYTES) {
            wire_writer_fini(&c->out);
            c->out = wire_writer_growing(OUT_MAX_BYTES);
        }
        c->out.size = 0;
        c->done     = 0;
    } else if (c->done > c->out.size / 2) {
        memmove(c->out.data, c->out.data + c->done, c->out.size - c->done);
        c->out.size -= c->done;
        c->done = 0;
    }
}

static uint64_t end_of(const struct channel *c)
{
    return c->acked + (c->out.size - c->done);
}

static void acknowledged(struct channel *c, uint64_t ack, uint64_t now_ns)
{
    if (ack <= c->acked || ack > end_of(c)) {
        return;
    }
    forget(c, ack);
    c->sent        = c->sent < ack ? ack : c->sent;
    c->patience_ns = patience_first_ns;
    c->again_ns    = c->sent == c->acked ? UINT64_MAX : now_ns + c->patience_ns;
}

bool channel_arrived(struct channel *c, struct bytes packet, uint64_t now_ns)
{
    struct wire_reader r    = wire_reader_of(packet);
    uint64_t           to   = wire_get_u64(&r);
    uint64_t           from = wire_get_u64(&r);
    uint64_t           sum  = wire_get_u64(&r);
    if (r.bad || to != c->from || from != c->to ||
        sum != hash_bytes(bytes_of(packet.data + SUMMED_AT, packet.size - SUMMED_AT))) {
        return false;
    }
    uint64_t seq = wire_get_u64(&r);
    uint64_t ack = wire_get_u64(&r);
    if (r.bad) {
        return false;
    }
    acknowledged(c, ack, now_ns);
    if (!c->heard) { /* what came there before the other one knew of this one was passed over: again, at once */
        c->heard    = true;
        c->sent     = c->acked;
        c->again_ns = UINT64_MAX;
    }
    struct bytes bytes = bytes_of(r.at, wire_left(&r));
    if (bytes.size == 0) {
        return true;
    }
    c->answer = true;
    if (seq > c->taken || seq + bytes.size <= c->taken) {
        return true; /* something before it is missing, or it is here */
    }
    size_t known = (size_t)(c->taken - seq);
    wire_put_bytes(&c->in, bytes_of(bytes.data + known, bytes.size - known));
    if (c->in.bad) { /* no memory: it comes again */
        c->in.bad = false;
        return true;
    }
    c->taken += bytes.size - known;
    return true;
}

bool channel_mail(const struct channel *c, size_t *at, struct kernel_mail *out)
{
    if (c->in.size - *at < MAIL_HEAD_BYTES) {
        return false;
    }
    struct wire_reader r = wire_reader_of(bytes_of(c->in.data + *at, c->in.size - *at));
    *out                 = (struct kernel_mail){.kind = wire_get_u32(&r), .number = wire_get_u32(&r)};
    out->value           = wire_get_u64(&r);
    out->body            = (void *)(uintptr_t)r.at;
    uint32_t size        = wire_get_u32(&r);
    size                 = size < sizeof size ? sizeof size : size;
    (void)wire_get(&r, size - sizeof size);
    if (r.bad) {
        return false;
    }
    *at += MAIL_HEAD_BYTES - sizeof size + size;
    return true;
}

void channel_taken(struct channel *c, size_t at)
{
    if (at != 0) {
        memmove(c->in.data, c->in.data + at, c->in.size - at);
        c->in.size -= at;
    }
    if (c->in.size == 0 && c->in.capacity > OUT_KEEP_BYTES) {
        wire_writer_fini(&c->in);
        c->in = wire_writer_growing(OUT_MAX_BYTES);
    }
}

bool channel_next(struct channel *c, uint64_t now_ns, uint8_t head[CHANNEL_HEAD_BYTES], struct bytes *out_bytes)
{
    if (now_ns >= c->again_ns) { /* all that is under way again, perhaps over another connection */
        c->sent        = c->acked;
        c->patience_ns = c->patience_ns * 2 < patience_last_ns ? c->patience_ns * 2 : patience_last_ns;
        c->again_ns    = UINT64_MAX;
        c->way++;
    }
    size_t left   = (size_t)(end_of(c) - c->sent);
    size_t flying = (size_t)(c->sent - c->acked);
    size_t size   = left < CHANNEL_PIECE_BYTES ? left : CHANNEL_PIECE_BYTES;
    size          = flying >= CHANNEL_FLYING_BYTES ? 0 : size;
    if (size == 0 && !c->answer) {
        return false;
    }
    *out_bytes           = size == 0 ? (struct bytes){0} : bytes_of(c->out.data + c->done + flying, size);
    struct wire_writer w = wire_writer_fixed(head, CHANNEL_HEAD_BYTES);
    wire_put_u64(&w, c->to);
    wire_put_u64(&w, c->from);
    wire_put_u64(&w, 0);
    wire_put_u64(&w, c->sent);
    wire_put_u64(&w, c->taken);
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, head + SUMMED_AT, CHANNEL_HEAD_BYTES - SUMMED_AT);
    XXH3_64bits_update(&state, out_bytes->data, size);
    uint64_t sum = XXH3_64bits_digest(&state);
    memcpy(head + SUM_AT, &sum, sizeof sum);
    c->answer = false;
    c->sent += size;
    if (size != 0 && c->again_ns == UINT64_MAX) {
        c->again_ns = now_ns + c->patience_ns;
    }
    return true;
}
