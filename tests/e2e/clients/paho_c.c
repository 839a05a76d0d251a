/* paho_c - Eclipse Paho's C library against a broker: sends COUNT messages with QoS n to itself and checks that each comes back, in order.
 *   paho_c HOST PORT VERSION(4|5) QOS COUNT
 * Prints "ok" and ends with 0, or says what went wrong and ends with 1. Uses the synchronous client (MQTTClient) for one message after the other. */
#include <MQTTClient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 10000 };

static int fail(const char *what, int code)
{
    printf("%s: %d %s\n", what, code, MQTTClient_strerror(code) != NULL ? MQTTClient_strerror(code) : "");
    return 1;
}

static int open_client(MQTTClient client, int version)
{
    MQTTClient_connectOptions v4 = MQTTClient_connectOptions_initializer;
    MQTTClient_connectOptions v5 = MQTTClient_connectOptions_initializer5;
    if (version == 5) {
        v5.cleanstart         = 1;
        MQTTResponse response = MQTTClient_connect5(client, &v5, NULL, NULL);
        int          code     = response.reasonCode;
        MQTTResponse_free(response);
        return code;
    }
    v4.cleansession = 1;
    return MQTTClient_connect(client, &v4);
}

static int subscribe(MQTTClient client, int version, const char *topic, int qos)
{
    if (version == 5) {
        MQTTResponse response = MQTTClient_subscribe5(client, topic, qos, NULL, NULL);
        int          code     = response.reasonCode;
        MQTTResponse_free(response);
        return code == qos ? 0 : code;
    }
    return MQTTClient_subscribe(client, topic, qos);
}

static int publish(MQTTClient client, int version, const char *topic, int qos, const char *text)
{
    MQTTClient_deliveryToken token = 0;
    int                      code  = 0;
    if (version == 5) {
        MQTTResponse response = MQTTClient_publish5(client, topic, (int)strlen(text), text, qos, 0, NULL, &token);
        code                  = response.reasonCode;
        MQTTResponse_free(response);
    } else {
        code = MQTTClient_publish(client, topic, (int)strlen(text), text, qos, 0, &token);
    }
    return code != 0 || qos == 0 ? code : MQTTClient_waitForCompletion(client, token, WAIT_MS);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        puts("paho_c HOST PORT VERSION QOS COUNT");
        return 2;
    }
    char                     uri[128], id[64], topic[64], text[64];
    int                      version = atoi(argv[3]), qos = atoi(argv[4]), count = atoi(argv[5]), code;
    MQTTClient               client;
    MQTTClient_createOptions options = MQTTClient_createOptions_initializer;
    options.MQTTVersion              = version;
    snprintf(uri, sizeof uri, "tcp://%s:%s", argv[1], argv[2]);
    snprintf(id, sizeof id, "paho-c-%d-%d", version, qos);
    snprintf(topic, sizeof topic, "paho/c/%d/%d", version, qos);
    if ((code = MQTTClient_createWithOptions(&client, uri, id, MQTTCLIENT_PERSISTENCE_NONE, NULL, &options)) != 0) {
        return fail("create", code);
    }
    if ((code = open_client(client, version)) != 0) {
        return fail("connect", code);
    }
    if ((code = subscribe(client, version, topic, qos)) != 0) {
        return fail("subscribe", code);
    }
    for (int i = 0; i < count; i++) {
        MQTTClient_message *message = NULL;
        char               *name    = NULL;
        int                 size    = 0;
        snprintf(text, sizeof text, "message %d", i);
        if ((code = publish(client, version, topic, qos, text)) != 0) {
            return fail("publish", code);
        }
        if ((code = MQTTClient_receive(client, &name, &size, &message, WAIT_MS)) != 0 || message == NULL) {
            return fail("receive", code);
        }
        if (message->qos != qos || (size_t)message->payloadlen != strlen(text) ||
            memcmp(message->payload, text, strlen(text)) != 0) {
            printf("wanted \"%s\" with QoS %d, got \"%.*s\" with QoS %d\n", text, qos, message->payloadlen,
                   (char *)message->payload, message->qos);
            return 1;
        }
        MQTTClient_freeMessage(&message);
        MQTTClient_free(name);
    }
    if (version == 5) {
        MQTTClient_disconnect5(client, 1000, MQTTREASONCODE_SUCCESS, NULL);
    } else {
        MQTTClient_disconnect(client, 1000);
    }
    MQTTClient_destroy(&client);
    puts("ok");
    return 0;
}
