#include "broker/kernel/inbound.h"
#include "shared/base/rand.h"

#include <criterion/criterion.h>

Test(kernel_inbound, it_holds_what_an_array_of_all_ids_holds)
{
    static uint64_t model[65536]; /* sequence, 0: not there */
    struct inbound  in = {0};
    struct rand     r;
    uint32_t        count = 0;
    rand_init(&r, 5, 0);
    for (int step = 1; step < 200000; step++) {
        uint64_t           spread = step / 50000 % 2 == 0 ? 300 : 65535;
        uint16_t           id     = (uint16_t)(1 + rand_below(&r, spread));
        struct inbound_id *found  = inbound_find(&in, id);
        cr_assert_eq(found != NULL, model[id] != 0);
        if (found != NULL) {
            cr_assert_eq(found->sequence, model[id]);
            inbound_remove(&in, id);
            inbound_remove(&in, id);
            model[id] = 0;
            count--;
        } else {
            found = inbound_add(&in, id);
            cr_assert_not_null(found);
            cr_assert_eq(found->state, 0);
            found->sequence = model[id] = (uint64_t)step;
            count++;
        }
        cr_assert_eq(in.count, count);
    }
    inbound_fini(&in);
}

Test(kernel_inbound, every_id_at_once)
{
    struct inbound in = {0};
    for (uint32_t id = 1; id <= 65535; id++) {
        cr_assert_not_null(inbound_add(&in, (uint16_t)id));
    }
    for (uint32_t id = 65535; id >= 1; id--) {
        cr_assert_not_null(inbound_find(&in, (uint16_t)id));
        inbound_remove(&in, (uint16_t)id);
    }
    cr_assert_eq(in.count, 0);
    inbound_fini(&in);
}
