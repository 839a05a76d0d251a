/* paho_c - Eclipse Paho's C library against a broker, one thing at a time.
 *   paho_c URI VERSION(4|5) CAFILE VERB TOPIC [QOS COUNT]
 *
 *   echo      subscribes, sends COUNT messages of that QoS to itself and checks that each comes back, in order
 *   retained  sends a retained message, subscribes to it and sees that it is marked so
 *   will      connects with a will and is gone without a word
 *   keep      leaves a session with a subscription behind
 *   resume    has that session back, and COUNT messages "0", "1" .. that came meanwhile, in order
 *
 * URI: tcp://, ssl://, ws:// or wss:// HOST:PORT. CAFILE: "-" where there is no TLS. Prints "ok" and ends with 0, or says what went wrong and ends
 * with 1. Uses the synchronous client (MQTTClient) for one message after the other. */
#include <MQTTClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WAIT_MS = 10000, EXPIRY_S = 300 };

struct job {
    MQTTClient  client;
    const char *authority; /* NULL: no TLS */
    const char *topic;
    int         version;
    int         qos;
    int         count;
    int         session_present;
};

static int fail(const char *what, int code)
{
    printf("%s: %d %s\n", what, code, MQTTClient_strerror(code) != NULL ? MQTTClient_strerror(code) : "");
    return 1;
}

static int open_client(struct job *job, int clean, const char *will)
{
    MQTTClient_SSLOptions     tls     = MQTTClient_SSLOptions_initializer;
    MQTTClient_willOptions    last    = MQTTClient_willOptions_initializer;
    MQTTClient_connectOptions v4      = MQTTClient_connectOptions_initializer;
    MQTTClient_connectOptions v5      = MQTTClient_connectOptions_initializer5;
    MQTTClient_connectOptions options = job->version == 5 ? v5 : v4;
    int                       code;
    tls.trustStore = job->authority;
    tls.verify     = 1;
    last.topicName = job->topic;
    last.message   = will;
    last.qos       = 1;
    options.ssl    = job->authority != NULL ? &tls : NULL;
    options.will   = will != NULL ? &last : NULL;
    if (job->version != 5) {
        options.cleansession = clean;
        code                 = MQTTClient_connect(job->client, &options);
        job->session_present = options.returned.sessionPresent;
        return code;
    }
    MQTTProperties properties = MQTTProperties_initializer;
    MQTTProperty   expiry     = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL};
    expiry.value.integer4     = clean ? 0 : EXPIRY_S;
    MQTTProperties_add(&properties, &expiry);
    options.cleanstart    = clean;
    MQTTResponse response = MQTTClient_connect5(job->client, &options, &properties, NULL);
    code                  = response.reasonCode;
    job->session_present  = 1; /* the library does not say for 5.0; the messages do */
    MQTTResponse_free(response);
    MQTTProperties_free(&properties);
    return code;
}

static void close_client(struct job *job)
{
    if (job->version == 5) {
        MQTTClient_disconnect5(job->client, 1000, MQTTREASONCODE_SUCCESS, NULL);
    } else {
        MQTTClient_disconnect(job->client, 1000);
    }
}

static int subscribe(struct job *job)
{
    if (job->version == 5) {
        MQTTResponse response = MQTTClient_subscribe5(job->client, job->topic, job->qos, NULL, NULL);
        int          code     = response.reasonCode;
        MQTTResponse_free(response);
        return code == job->qos ? 0 : code;
    }
    return MQTTClient_subscribe(job->client, job->topic, job->qos);
}

static int publish(struct job *job, const char *text, int retained)
{
    MQTTClient_deliveryToken token = 0;
    int                      code  = 0;
    if (job->version == 5) {
        MQTTResponse response =
            MQTTClient_publish5(job->client, job->topic, (int)strlen(text), text, job->qos, retained, NULL, &token);
        code = response.reasonCode;
        MQTTResponse_free(response);
    } else {
        code = MQTTClient_publish(job->client, job->topic, (int)strlen(text), text, job->qos, retained, &token);
    }
    return code != 0 || job->qos == 0 ? code : MQTTClient_waitForCompletion(job->client, token, WAIT_MS);
}

/* The next message must be this one. */
static int expect(struct job *job, const char *text, int retained)
{
    MQTTClient_message *message = NULL;
    char               *name    = NULL;
    int                 size    = 0;
    int                 code    = MQTTClient_receive(job->client, &name, &size, &message, WAIT_MS);
    if (code != 0 || message == NULL) {
        return fail("receive", code);
    }
    int wrong = message->qos != job->qos || message->retained != retained ||
                (size_t)message->payloadlen != strlen(text) || memcmp(message->payload, text, strlen(text)) != 0 ||
                strcmp(name, job->topic) != 0;
    if (wrong) {
        printf("wanted \"%s\" with QoS %d, retained %d, got \"%.*s\" with QoS %d, retained %d on %s\n", text, job->qos,
               retained, message->payloadlen, (char *)message->payload, message->qos, message->retained, name);
    }
    MQTTClient_freeMessage(&message);
    MQTTClient_free(name);
    return wrong;
}

static int echo(struct job *job)
{
    char text[64];
    int  code = open_client(job, 1, NULL);
    if (code != 0) {
        return fail("connect", code);
    }
    if ((code = subscribe(job)) != 0) {
        return fail("subscribe", code);
    }
    for (int i = 0; i < job->count; i++) {
        snprintf(text, sizeof text, "message %d", i);
        if ((code = publish(job, text, 0)) != 0) {
            return fail("publish", code);
        }
        if (expect(job, text, 0) != 0) {
            return 1;
        }
    }
    close_client(job);
    return 0;
}

static int retained(struct job *job)
{
    int code = open_client(job, 1, NULL);
    if (code != 0 || (code = publish(job, "kept", 1)) != 0 || (code = subscribe(job)) != 0) {
        return fail("retained", code);
    }
    int wrong = expect(job, "kept", 1);
    close_client(job);
    return wrong;
}

static int will(struct job *job)
{
    int code = open_client(job, 1, "gone");
    if (code != 0) {
        return fail("connect", code);
    }
    puts("ok");
    fflush(stdout);
    _exit(0); /* no library says goodbye for us */
}

static int keep(struct job *job)
{
    int code = open_client(job, 0, NULL);
    if (code != 0 || (code = subscribe(job)) != 0) {
        return fail("keep", code);
    }
    close_client(job);
    return 0;
}

static int resume(struct job *job)
{
    char text[64];
    int  code = open_client(job, 0, NULL);
    if (code != 0) {
        return fail("connect", code);
    }
    if (!job->session_present) {
        return fail("no session is present", 0);
    }
    for (int i = 0; i < job->count; i++) {
        snprintf(text, sizeof text, "%d", i);
        if (expect(job, text, 0) != 0) {
            return 1;
        }
    }
    close_client(job);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(struct job *job);
    } verbs[] = {{"echo", echo}, {"retained", retained}, {"will", will}, {"keep", keep}, {"resume", resume}};
    if (argc < 6) {
        puts("paho_c URI VERSION CAFILE VERB TOPIC [QOS COUNT]");
        return 2;
    }
    struct job               job     = {.topic = argv[5], .version = atoi(argv[2]), .qos = 1, .count = 1};
    MQTTClient_createOptions options = MQTTClient_createOptions_initializer;
    options.MQTTVersion              = job.version;
    job.authority                    = strcmp(argv[3], "-") == 0 ? NULL : argv[3];
    if (argc > 7) {
        job.qos   = atoi(argv[6]);
        job.count = atoi(argv[7]);
    }
    /* The topic is the name too: one client for each. */
    int code =
        MQTTClient_createWithOptions(&job.client, argv[1], job.topic, MQTTCLIENT_PERSISTENCE_NONE, NULL, &options);
    if (code != 0) {
        return fail("create", code);
    }
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(argv[4], verbs[i].name) == 0) {
            code = verbs[i].run(&job);
            MQTTClient_destroy(&job.client);
            if (code == 0) {
                puts("ok");
            }
            return code;
        }
    }
    return fail("an unknown verb", 0);
}
