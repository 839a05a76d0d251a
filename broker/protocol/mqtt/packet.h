/* packet - every control packet of MQTT 3.1, 3.1.1 and 5, with its fields, properties and reason codes in the standard's words.
 *
 *   byte 1           bytes 2..5          remaining length bytes
 *   | type | flags | remaining length | variable header | payload |
 *     4 bit  4 bit   1..4 bytes, 7 bits each, the least significant group first
 *
 * All views (struct bytes) point into the bytes that were decoded, or into what the caller wants encoded.
 * Threads: any.   Units: *_s seconds, *_bytes bytes. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_PACKET_H
#define KEEL_BROKER_PROTOCOL_MQTT_PACKET_H

#include "shared/base/bytes.h"

/* The protocol level in CONNECT. */
enum mqtt_version { MQTT_V31 = 3, MQTT_V311 = 4, MQTT_V5 = 5 };

enum mqtt_type {
    MQTT_RESERVED,
    MQTT_CONNECT,
    MQTT_CONNACK,
    MQTT_PUBLISH,
    MQTT_PUBACK,
    MQTT_PUBREC,
    MQTT_PUBREL,
    MQTT_PUBCOMP,
    MQTT_SUBSCRIBE,
    MQTT_SUBACK,
    MQTT_UNSUBSCRIBE,
    MQTT_UNSUBACK,
    MQTT_PINGREQ,
    MQTT_PINGRESP,
    MQTT_DISCONNECT,
    MQTT_AUTH,
    MQTT_WILL, /* not a packet: the will properties inside CONNECT */
    MQTT_TYPES,
};

/* Who wrote the bytes: some properties and reason codes belong to one side only. */
enum mqtt_sender { MQTT_FROM_CLIENT, MQTT_FROM_SERVER };

enum {
    MQTT_REMAINING_MAX    = 268435455, /* what four bytes of remaining length can say */
    MQTT_HEADER_BYTES_MAX = 5,         /* type, flags and remaining length */
    MQTT_STRING_BYTES_MAX = 65535,
    MQTT_ACK_BYTES_MAX    = 6, /* of PUBACK and its like without properties */
};

enum mqtt_reason {
    MQTT_SUCCESS                                = 0x00, /* also: normal disconnection, granted QoS 0 */
    MQTT_GRANTED_QOS_1                          = 0x01,
    MQTT_GRANTED_QOS_2                          = 0x02,
    MQTT_DISCONNECT_WITH_WILL                   = 0x04,
    MQTT_NO_MATCHING_SUBSCRIBERS                = 0x10,
    MQTT_NO_SUBSCRIPTION_EXISTED                = 0x11,
    MQTT_CONTINUE_AUTHENTICATION                = 0x18,
    MQTT_REAUTHENTICATE                         = 0x19,
    MQTT_UNSPECIFIED_ERROR                      = 0x80,
    MQTT_MALFORMED_PACKET                       = 0x81,
    MQTT_PROTOCOL_ERROR                         = 0x82,
    MQTT_IMPLEMENTATION_SPECIFIC_ERROR          = 0x83,
    MQTT_UNSUPPORTED_PROTOCOL_VERSION           = 0x84,
    MQTT_CLIENT_IDENTIFIER_NOT_VALID            = 0x85,
    MQTT_BAD_USER_NAME_OR_PASSWORD              = 0x86,
    MQTT_NOT_AUTHORIZED                         = 0x87,
    MQTT_SERVER_UNAVAILABLE                     = 0x88,
    MQTT_SERVER_BUSY                            = 0x89,
    MQTT_BANNED                                 = 0x8a,
    MQTT_SERVER_SHUTTING_DOWN                   = 0x8b,
    MQTT_BAD_AUTHENTICATION_METHOD              = 0x8c,
    MQTT_KEEP_ALIVE_TIMEOUT                     = 0x8d,
    MQTT_SESSION_TAKEN_OVER                     = 0x8e,
    MQTT_TOPIC_FILTER_INVALID                   = 0x8f,
    MQTT_TOPIC_NAME_INVALID                     = 0x90,
    MQTT_PACKET_IDENTIFIER_IN_USE               = 0x91,
    MQTT_PACKET_IDENTIFIER_NOT_FOUND            = 0x92,
    MQTT_RECEIVE_MAXIMUM_EXCEEDED               = 0x93,
    MQTT_TOPIC_ALIAS_INVALID                    = 0x94,
    MQTT_PACKET_TOO_LARGE                       = 0x95,
    MQTT_MESSAGE_RATE_TOO_HIGH                  = 0x96,
    MQTT_QUOTA_EXCEEDED                         = 0x97,
    MQTT_ADMINISTRATIVE_ACTION                  = 0x98,
    MQTT_PAYLOAD_FORMAT_INVALID                 = 0x99,
    MQTT_RETAIN_NOT_SUPPORTED                   = 0x9a,
    MQTT_QOS_NOT_SUPPORTED                      = 0x9b,
    MQTT_USE_ANOTHER_SERVER                     = 0x9c,
    MQTT_SERVER_MOVED                           = 0x9d,
    MQTT_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED     = 0x9e,
    MQTT_CONNECTION_RATE_EXCEEDED               = 0x9f,
    MQTT_MAXIMUM_CONNECT_TIME                   = 0xa0,
    MQTT_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xa1,
    MQTT_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED   = 0xa2,
};

/* The return codes of CONNACK and the failure code of SUBACK before MQTT 5. */
enum mqtt_v3_return {
    MQTT_V3_ACCEPTED              = 0,
    MQTT_V3_UNACCEPTABLE_PROTOCOL = 1,
    MQTT_V3_IDENTIFIER_REJECTED   = 2,
    MQTT_V3_SERVER_UNAVAILABLE    = 3,
    MQTT_V3_BAD_USER_OR_PASSWORD  = 4,
    MQTT_V3_NOT_AUTHORIZED        = 5,
    MQTT_V3_SUBSCRIBE_FAILURE     = 0x80,
};

enum mqtt_property {
    MQTT_PAYLOAD_FORMAT_INDICATOR          = 0x01,
    MQTT_MESSAGE_EXPIRY_INTERVAL           = 0x02,
    MQTT_CONTENT_TYPE                      = 0x03,
    MQTT_RESPONSE_TOPIC                    = 0x08,
    MQTT_CORRELATION_DATA                  = 0x09,
    MQTT_SUBSCRIPTION_IDENTIFIER           = 0x0b,
    MQTT_SESSION_EXPIRY_INTERVAL           = 0x11,
    MQTT_ASSIGNED_CLIENT_IDENTIFIER        = 0x12,
    MQTT_SERVER_KEEP_ALIVE                 = 0x13,
    MQTT_AUTHENTICATION_METHOD             = 0x15,
    MQTT_AUTHENTICATION_DATA               = 0x16,
    MQTT_REQUEST_PROBLEM_INFORMATION       = 0x17,
    MQTT_WILL_DELAY_INTERVAL               = 0x18,
    MQTT_REQUEST_RESPONSE_INFORMATION      = 0x19,
    MQTT_RESPONSE_INFORMATION              = 0x1a,
    MQTT_SERVER_REFERENCE                  = 0x1c,
    MQTT_REASON_STRING                     = 0x1f,
    MQTT_RECEIVE_MAXIMUM                   = 0x21,
    MQTT_TOPIC_ALIAS_MAXIMUM               = 0x22,
    MQTT_TOPIC_ALIAS                       = 0x23,
    MQTT_MAXIMUM_QOS                       = 0x24,
    MQTT_RETAIN_AVAILABLE                  = 0x25,
    MQTT_USER_PROPERTY                     = 0x26,
    MQTT_MAXIMUM_PACKET_SIZE               = 0x27,
    MQTT_WILDCARD_SUBSCRIPTION_AVAILABLE   = 0x28,
    MQTT_SUBSCRIPTION_IDENTIFIER_AVAILABLE = 0x29,
    MQTT_SHARED_SUBSCRIPTION_AVAILABLE     = 0x2a,
    MQTT_PROPERTY_IDS                      = 0x2b,
};

/* The properties of one packet. A value may be read only when its bit is in present; user properties stay in raw. */
struct mqtt_properties {
    struct bytes raw;     /* all of them as they came, without the length in front */
    uint64_t     present; /* bit n: property n is there */

    uint32_t message_expiry_interval_s;
    uint32_t session_expiry_interval_s;
    uint32_t will_delay_interval_s;
    uint32_t maximum_packet_size;
    uint32_t subscription_identifier; /* the last one */
    uint16_t server_keep_alive_s;
    uint16_t receive_maximum;
    uint16_t topic_alias_maximum;
    uint16_t topic_alias;
    uint8_t  payload_format_indicator;
    uint8_t  request_problem_information;
    uint8_t  request_response_information;
    uint8_t  maximum_qos;
    uint8_t  retain_available;
    uint8_t  wildcard_subscription_available;
    uint8_t  subscription_identifier_available;
    uint8_t  shared_subscription_available;

    struct bytes content_type;
    struct bytes response_topic;
    struct bytes correlation_data;
    struct bytes assigned_client_identifier;
    struct bytes authentication_method;
    struct bytes authentication_data;
    struct bytes response_information;
    struct bytes server_reference;
    struct bytes reason_string;
};

static inline bool mqtt_has(const struct mqtt_properties *p, enum mqtt_property id)
{
    return (p->present >> id & 1) != 0;
}

struct mqtt_connect {
    uint8_t version; /* enum mqtt_version */
    /* The level has bit 7 set: another broker, which filters its own messages and wants RETAIN as published. */
    bool     bridge;
    bool     clean_start;
    bool     has_will;
    bool     has_user_name;
    bool     has_password;
    uint8_t  will_qos;
    bool     will_retain;
    uint16_t keep_alive_s;

    struct bytes           client_id;
    struct bytes           will_topic;
    struct bytes           will_payload;
    struct bytes           user_name;
    struct bytes           password;
    struct mqtt_properties properties;
    struct mqtt_properties will_properties;
};

struct mqtt_connack {
    bool                   session_present;
    uint8_t                reason_code; /* enum mqtt_reason, or enum mqtt_v3_return */
    struct mqtt_properties properties;
};

struct mqtt_publish {
    uint8_t                qos;
    bool                   duplicate;
    bool                   retain;
    uint16_t               packet_id; /* 0 when qos is 0 */
    struct bytes           topic;     /* empty: the topic alias stands for it */
    struct bytes           payload;
    struct mqtt_properties properties;
};

/* PUBACK, PUBREC, PUBREL, PUBCOMP. */
struct mqtt_ack {
    uint16_t               packet_id;
    uint8_t                reason_code;
    struct mqtt_properties properties;
};

/* SUBSCRIBE and UNSUBSCRIBE. The filters are walked with mqtt_filter_next (decode.h). */
struct mqtt_subscribe {
    uint16_t               packet_id;
    uint32_t               count;   /* of filters, 1.. */
    struct bytes           filters; /* the payload as it came; valid throughout */
    struct mqtt_properties properties;
};

/* SUBACK and UNSUBACK. */
struct mqtt_suback {
    uint16_t               packet_id;
    struct bytes           reason_codes; /* none in UNSUBACK before MQTT 5 */
    struct mqtt_properties properties;
};

/* DISCONNECT and AUTH. */
struct mqtt_disconnect {
    uint8_t                reason_code;
    struct mqtt_properties properties;
};

struct mqtt_packet {
    uint8_t type; /* enum mqtt_type */
    union {
        struct mqtt_connect    connect;
        struct mqtt_connack    connack;
        struct mqtt_publish    publish;
        struct mqtt_ack        ack;
        struct mqtt_subscribe  subscribe;
        struct mqtt_suback     suback;
        struct mqtt_disconnect disconnect;
    };
};

/* What is wrong, in a reason code for the peer and a sentence for the log. why is NULL when nothing is. */
struct mqtt_fault {
    const char *why;
    uint8_t     reason_code;
};

#define MQTT_FINE ((struct mqtt_fault){0})

static inline struct mqtt_fault mqtt_fault(enum mqtt_reason reason_code, const char *why)
{
    return (struct mqtt_fault){.why = why, .reason_code = (uint8_t)reason_code};
}

#endif
