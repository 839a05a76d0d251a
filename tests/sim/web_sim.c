/* web_sim.c - shared/loop/web.h where nobody answers: every request fails in the next turn. */
#include "shared/base/err.h"
#include "shared/base/list.h"
#include "shared/loop/web.h"

#include <stdlib.h>

struct web {
    unsigned waiting_max;
};

struct web *web_new(unsigned waiting_max)
{
    struct web *web = calloc(1, sizeof *web);
    if (web != NULL) {
        web->waiting_max = waiting_max;
    }
    return web;
}

void web_stop(struct web *web)
{
    (void)web;
}

void web_free(struct web *web)
{
    free(web);
}

static void returned(struct desk_item *item)
{
    struct web_request *request = CONTAINER_OF(item, struct web_request, back);
    request->done(request);
}

bool web_post(struct web *web, struct desk *desk, struct web_request *request)
{
    (void)web;
    free(request->body);
    request->body     = NULL;
    request->answer   = NULL;
    request->status   = ERR_UNAVAILABLE;
    request->back.run = returned;
    desk_expect(desk);
    desk_return(desk, &request->back);
    return true;
}
