/* spec.c - lines into a struct, topics from one side to the other. */
#include "broker/bridge/spec.h"

#include "broker/kernel/topic.h"
#include "shared/base/err.h"

#include <stdio.h>

enum { KEEP_ALIVE_S = 60, PORT = 1883, TLS_PORT = 8883, WORDS_MAX = 5 };

/* ---- matching -------------------------------------------------------------------------------------------------------------- */

static struct bytes level_of(struct bytes *rest, bool *more)
{
    const uint8_t *slash = rest->size == 0 ? NULL : memchr(rest->data, '/', rest->size);
    size_t         size  = slash == NULL ? rest->size : (size_t)(slash - rest->data);
    struct bytes   level = bytes_of(rest->data, size);
    *more                = slash != NULL;
    *rest                = bytes_of(rest->data + size + *more, rest->size - size - *more);
    return level;
}

bool bridge_matches(struct bytes filter, struct bytes topic)
{
    bool more_filter = true;
    bool more_topic  = true;
    bool hidden      = topic.size != 0 && topic.data[0] == '$';
    for (bool first = true;; first = false) {
        if (!more_filter) {
            return !more_topic;
        }
        struct bytes want = level_of(&filter, &more_filter);
        bool         wild = bytes_equal(want, bytes_str("+"));
        bool         all  = bytes_equal(want, bytes_str("#"));
        if ((wild || all) && first && hidden) {
            return false;
        }
        if (all) {
            return true;
        }
        if (!more_topic) {
            return false;
        }
        struct bytes have = level_of(&topic, &more_topic);
        if (!wild && !bytes_equal(want, have)) {
            return false;
        }
        /* "a/#" takes "a" too */
        if (!more_topic && more_filter && bytes_equal(filter, bytes_str("#"))) {
            return true;
        }
    }
}

size_t bridge_map(const struct bridge_spec *spec, enum bridge_way way, struct bytes topic,
                  const struct bridge_topic **out_rule, uint8_t *out)
{
    for (uint32_t i = 0; i < spec->topic_count; i++) {
        const struct bridge_topic *t       = &spec->topics[i];
        bool                       outward = way == BRIDGE_OUT;
        struct bytes               from    = outward ? bridge_local(t) : bridge_remote(t);
        struct bytes               to      = outward ? bridge_remote(t) : bridge_local(t);
        size_t                     cut     = outward ? t->local_prefix_size : t->remote_prefix_size;
        size_t                     put     = outward ? t->remote_prefix_size : t->local_prefix_size;
        if ((t->ways & way) == 0 || !bridge_matches(from, topic)) {
            continue;
        }
        size_t rest =
            topic.size > cut ? topic.size - cut : 0; /* "p/" + "#" takes "p", which has less than the prefix */
        if (put + rest > 65535 || put + rest == 0) {
            continue;
        }
        memcpy(out, to.data, put);
        if (rest != 0) {
            memcpy(out + put, topic.data + cut, rest);
        }
        *out_rule = t;
        return put + rest;
    }
    return 0;
}

/* ---- reading ----------------------------------------------------------------------------------------------------------------- */

static bool number_of(struct bytes text, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || value > max) {
            return false;
        }
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    *out = value;
    return text.size != 0 && value <= max;
}

static bool copy(char out[BRIDGE_TEXT_MAX], struct bytes text)
{
    if (text.size >= BRIDGE_TEXT_MAX) {
        return false;
    }
    memcpy(out, text.data, text.size);
    out[text.size] = '\0';
    return true;
}

/* "host:port", "[::1]:port", or a host alone. */
static bool address_of(struct bridge_spec *spec, struct bytes text)
{
    uint64_t    port  = 0;
    const char *start = (const char *)text.data;
    size_t      size  = text.size;
    const char *colon = NULL;
    for (size_t i = 0; i < size; i++) {
        colon = start[i] == ':' ? start + i : colon;
    }
    bool six = size != 0 && start[0] == '[';
    if (six) {
        const char *end = memchr(start, ']', size);
        if (end == NULL || (colon > end && colon != end + 1) || (colon < end && (size_t)(end + 1 - start) != size)) {
            return false;
        }
        colon = colon > end ? colon : NULL;
    }
    if (colon != NULL) {
        if (!number_of(bytes_of(colon + 1, size - (size_t)(colon + 1 - start)), 65535, &port) || port == 0) {
            return false;
        }
        size = (size_t)(colon - start);
    }
    spec->port = (uint16_t)port;
    return six ? size > 2 && copy(spec->host, bytes_of(start + 1, size - 2))
               : size != 0 && copy(spec->host, bytes_of(start, size));
}

static bool join(char *out, uint16_t *out_size, struct bytes prefix, struct bytes pattern)
{
    if (prefix.size + pattern.size > BRIDGE_FILTER_MAX) {
        return false;
    }
    if (prefix.size != 0) {
        memcpy(out, prefix.data, prefix.size);
    }
    memcpy(out + prefix.size, pattern.data, pattern.size);
    *out_size = (uint16_t)(prefix.size + pattern.size);
    return true;
}

static bool wild(struct bytes text)
{
    return text.size != 0 && (memchr(text.data, '+', text.size) != NULL || memchr(text.data, '#', text.size) != NULL);
}

static const char *filter_wrong(struct bytes filter)
{
    if (!topic_filter_valid(filter) || bytes_starts_with(filter, bytes_str("$share/")) ||
        bytes_starts_with(filter, bytes_str("$stream/"))) {
        return "prefix and pattern of a topic make no valid filter, or one of $share or $stream";
    }
    return NULL;
}

static const char *topic_read(struct bridge_spec *spec, struct bytes text)
{
    struct bytes words[WORDS_MAX] = {0};
    int          count            = 0;
    uint64_t     qos              = 0;
    for (size_t at = 0; at < text.size;) {
        size_t end = at;
        while (end < text.size && text.data[end] != ' ') {
            end++;
        }
        if (end > at) {
            if (count == WORDS_MAX) {
                return "a topic has a pattern, a direction, a QoS and two prefixes at most";
            }
            words[count++] = bytes_of(text.data + at, end - at);
        }
        at = end + 1;
    }
    for (int i = 0; i < count; i++) {
        words[i] = bytes_equal(words[i], bytes_str("\"\"")) ? (struct bytes){.data = words[i].data} : words[i];
    }
    if (count == 0 || spec->topic_count == BRIDGE_TOPICS_MAX) {
        return count == 0 ? "a topic has no pattern" : "a bridge has at most 64 topics";
    }
    struct bridge_topic *t = &spec->topics[spec->topic_count];
    *t                     = (struct bridge_topic){.ways = BRIDGE_OUT};
    if (count > 1) {
        t->ways = bytes_equal(words[1], bytes_str("out"))    ? BRIDGE_OUT
                  : bytes_equal(words[1], bytes_str("in"))   ? BRIDGE_IN
                  : bytes_equal(words[1], bytes_str("both")) ? BRIDGE_OUT | BRIDGE_IN
                                                             : 0;
    }
    if (t->ways == 0) {
        return "the direction of a topic is out, in or both";
    }
    if (count > 2 && !number_of(words[2], 2, &qos)) {
        return "the QoS of a topic is 0, 1 or 2";
    }
    if (wild(words[3]) || wild(words[4])) {
        return "a prefix has no wildcards";
    }
    t->qos                = (uint8_t)qos;
    t->local_prefix_size  = (uint16_t)words[3].size;
    t->remote_prefix_size = (uint16_t)words[4].size;
    if (!join(t->local, &t->local_size, words[3], words[0]) || !join(t->remote, &t->remote_size, words[4], words[0])) {
        return "a topic with its prefixes has at most 512 bytes";
    }
    const char *wrong = filter_wrong(bridge_local(t));
    wrong             = wrong != NULL ? wrong : filter_wrong(bridge_remote(t));
    spec->topic_count += wrong == NULL;
    return wrong;
}

static const char *line_read(struct bridge_spec *spec, struct bytes line)
{
    const uint8_t *sign = line.size == 0 ? NULL : memchr(line.data, '=', line.size);
    uint64_t       number;
    if (sign == NULL) {
        return "a line is key=value";
    }
    struct bytes key   = bytes_of(line.data, (size_t)(sign - line.data));
    struct bytes value = bytes_of(sign + 1, line.size - key.size - 1);
    if (bytes_equal(key, bytes_str("topic"))) {
        return topic_read(spec, value);
    }
    if (bytes_equal(key, bytes_str("address"))) {
        return address_of(spec, value) ? NULL : "the address is HOST:PORT";
    }
    if (bytes_equal(key, bytes_str("version"))) {
        bool good     = number_of(value, 5, &number) && number >= 4;
        spec->version = good ? (uint8_t)number : 0;
        return good ? NULL : "the version is 4 (MQTT 3.1.1) or 5";
    }
    if (bytes_equal(key, bytes_str("keep_alive"))) {
        bool good          = number_of(value, 65535, &number) && number >= 5;
        spec->keep_alive_s = good ? (uint16_t)number : 0;
        return good ? NULL : "the keep alive is 5 to 65535 s";
    }
    if (bytes_equal(key, bytes_str("client_id"))) {
        return copy(spec->client_id, value) && value.size != 0 ? NULL : "the client id has 1 to 255 bytes";
    }
    if (bytes_equal(key, bytes_str("user"))) {
        return copy(spec->user, value) ? NULL : "the user has at most 255 bytes";
    }
    if (bytes_equal(key, bytes_str("password"))) {
        return copy(spec->password, value) ? NULL : "the password has at most 255 bytes";
    }
    if (bytes_equal(key, bytes_str("password_file"))) {
        bool whole = value.size != 0 && value.data[0] == '/';
        return whole && copy(spec->password_file, value)
                   ? NULL
                   : "the password file is named by its whole path on the broker's machine, of at most 255 bytes";
    }
    if (bytes_equal(key, bytes_str("tls"))) {
        spec->tls = bytes_equal(value, bytes_str("yes"));
        return spec->tls || bytes_equal(value, bytes_str("no")) ? NULL : "tls is yes or no";
    }
    if (bytes_equal(key, bytes_str("tls_ca"))) {
        return copy(spec->tls_authority, value) ? NULL : "a path has at most 255 bytes";
    }
    if (bytes_equal(key, bytes_str("tls_cert"))) {
        return copy(spec->tls_certificate, value) ? NULL : "a path has at most 255 bytes";
    }
    if (bytes_equal(key, bytes_str("tls_key"))) {
        return copy(spec->tls_key, value) ? NULL : "a path has at most 255 bytes";
    }
    return "keys are address, version, client_id, user, password, password_file, keep_alive, tls, tls_ca, tls_cert, "
           "tls_key and topic";
}

int bridge_spec_read(struct bytes name, struct bytes text, struct bridge_spec *out, char *why, size_t why_size)
{
    *out = (struct bridge_spec){.version = 5, .keep_alive_s = KEEP_ALIVE_S};
    (void)snprintf(out->client_id, sizeof out->client_id, "keel.%.*s", (int)name.size, (const char *)name.data);
    while (text.size != 0) {
        const uint8_t *end  = memchr(text.data, '\n', text.size);
        size_t         size = end == NULL ? text.size : (size_t)(end - text.data);
        const char    *bad  = size == 0 ? NULL : line_read(out, bytes_of(text.data, size));
        if (bad != NULL) {
            (void)snprintf(why, why_size, "%.*s: %s", size < 100 ? (int)size : 100, (const char *)text.data, bad);
            return ERR_MALFORMED;
        }
        size += end != NULL;
        text = bytes_of(text.data + size, text.size - size);
    }
    const char *missing =
        out->host[0] == '\0'    ? "a bridge needs the address of the other broker"
        : out->topic_count == 0 ? "a bridge needs a topic"
        : (out->password[0] != '\0' || out->password_file[0] != '\0') && out->user[0] == '\0'
            ? "a password needs a user"
        : out->password[0] != '\0' && out->password_file[0] != '\0' ? "a password is given or is in a file, not both"
        : (out->tls_certificate[0] == '\0') != (out->tls_key[0] == '\0') ? "tls_cert and tls_key come together"
        : !out->tls && (out->tls_authority[0] != '\0' || out->tls_certificate[0] != '\0')
            ? "tls_ca and tls_cert need tls=yes"
            : NULL;
    if (missing != NULL) {
        (void)snprintf(why, why_size, "%s", missing);
        return ERR_MALFORMED;
    }
    out->port = out->port != 0 ? out->port : out->tls ? TLS_PORT : PORT;
    return 0;
}
