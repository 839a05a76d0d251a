/* exchange.c - enhanced authentication: SCRAM-SHA-256, step by step. */
#include "broker/gate/attempt.h"

#include "shared/loop/io.h"

#include <stdlib.h>

static void scram_says_first(struct attempt *a, struct bytes message)
{
    struct gate  *gate     = a->gate;
    struct scram *scram    = a->scram;
    bool          in_table = false;
    uint64_t      nonce[3];
    const char   *why = scram_first(scram, message);
    if (why != NULL) {
        attempt_refuse(a, AUTH_PROTOCOL, why);
        return;
    }
    struct bytes name = bytes_of(scram->user, scram->user_size);
    if (a->has_user && !bytes_equal(a->user, name)) {
        attempt_refuse(a, AUTH_BAD_CREDENTIALS, "two user names that are not the same");
        return;
    }
    for (size_t i = 0; i < sizeof nonce / sizeof *nonce; i++) {
        nonce[i] = io_random(gate->io);
    }
    const struct user       *user = gate_user(gate, name, &in_table);
    const struct auth_answer next = {
        .outcome  = AUTH_CONTINUES,
        .has_data = true,
        .data     = scram_challenge(scram, user != NULL ? &user->credential.scram : NULL, gate->secret,
                                    gate->config->scram_iterations, (const uint8_t *)nonce),
    };
    if (next.data.size == 0) {
        attempt_refuse(a, AUTH_UNAVAILABLE, "a challenge could not be made");
        return;
    }
    a->step = 1;
    a->client->answered(a->client, &next);
}

static void scram_says_last(struct attempt *a, struct bytes message)
{
    char               said[64];
    size_t             size     = 0;
    bool               in_table = false;
    struct scram      *scram    = a->scram;
    const char        *why      = scram_final(scram, message, said, &size);
    struct bytes       name     = bytes_of(scram->user, scram->user_size);
    const struct user *user     = gate_user(a->gate, name, &in_table);
    if (why == NULL &&
        (user == NULL || memcmp(user->credential.scram.stored, scram->keys.stored, SCRAM_KEY_BYTES) != 0)) {
        why = "a user that has changed meanwhile";
    }
    if (why != NULL) {
        attempt_refuse(a, AUTH_BAD_CREDENTIALS, why);
        return;
    }
    a->name = name;
    link_user(a, user, in_table);
    attempt_allow(a, bytes_of(said, size));
}

void exchange_begin(struct attempt *a, const struct auth_request *request)
{
    a->scram = calloc(1, sizeof *a->scram);
    if (a->scram == NULL) {
        attempt_refuse(a, AUTH_BUSY, "no memory to ask who it is");
    } else if (request->has_data) {
        scram_says_first(a, request->data);
    } else { /* the client may let us begin, with nothing to say (4.12) */
        static const struct auth_answer your_turn = {.outcome = AUTH_CONTINUES};
        a->client->answered(a->client, &your_turn);
    }
}

void exchange_respond(struct attempt *a, struct bytes data)
{
    if (a->step == 0) {
        scram_says_first(a, data);
    } else {
        scram_says_last(a, data);
    }
}
