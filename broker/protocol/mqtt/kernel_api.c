/* kernel_api.c - kernel.h as a table. */
#include "broker/protocol/mqtt/env.h"

const struct mqtt_kernel_api mqtt_kernel_api_default = {
    .open            = kernel_open,
    .publish         = kernel_publish,
    .publish_release = kernel_publish_release,
    .subscribe       = kernel_subscribe,
    .unsubscribe     = kernel_unsubscribe,
    .subscriptions   = kernel_subscriptions,
    .received        = kernel_received,
    .done            = kernel_done,
    .writable        = kernel_writable,
    .close           = kernel_close,
};
