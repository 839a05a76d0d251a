/* workers_sim.c - shared/loop/workers.h without threads: the work is run where it is asked for, its end comes with the next turn. */
#include "shared/loop/workers.h"

#include "shared/base/list.h"

#include <stdlib.h>

struct workers {
    unsigned queue_max;
};

struct workers *workers_new(unsigned threads, unsigned queue_max)
{
    (void)threads;
    struct workers *workers = calloc(1, sizeof *workers);
    if (workers != NULL) {
        workers->queue_max = queue_max;
    }
    return workers;
}

void workers_free(struct workers *workers)
{
    free(workers);
}

static void returned(struct desk_item *item)
{
    struct work_item *work = CONTAINER_OF(item, struct work_item, back);
    work->done(work);
}

bool workers_submit(struct workers *workers, struct desk *desk, struct work_item *work)
{
    (void)workers;
    work->desk     = desk;
    work->back.run = returned;
    desk_expect(desk);
    work->run(work);
    desk_return(desk, &work->back);
    return true;
}
