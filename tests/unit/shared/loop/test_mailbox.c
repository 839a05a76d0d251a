/* test_mailbox - two threads and a ring between them. */
#include "shared/loop/mailbox.h"

#include "shared/loop/thread.h"

#include <criterion/criterion.h>
#include <sched.h>

Test(loop_mailbox, is_full_after_its_slots_and_has_room_after_a_pop)
{
    struct mailbox *box = mailbox_new(4);
    struct mail     out;
    cr_assert(!mailbox_pop(box, &out));
    for (uint32_t lap = 0; lap < 5; lap++) {
        for (uint32_t i = 0; i < 4; i++) {
            cr_assert(mailbox_push(box, &(struct mail){.kind = 1, .number = i, .value = lap}));
        }
        cr_assert(!mailbox_push(box, &(struct mail){.kind = 2}));
        mailbox_ring(box); /* nobody reads yet: nothing happens */
        for (uint32_t i = 0; i < 4; i++) {
            cr_assert(mailbox_pop(box, &out));
            cr_assert(out.kind == 1 && out.number == i && out.value == lap);
        }
        cr_assert(!mailbox_pop(box, &out));
    }
    mailbox_free(box);
    mailbox_free(NULL);
}

enum { MAILS = 2000000 };

static void write_all(void *ctx)
{
    struct mailbox *box = ctx;
    for (uint64_t i = 0; i < MAILS; i++) {
        struct mail mail = {.kind = (uint32_t)(i % 7), .number = (uint32_t)i, .value = i * i, .body = box};
        while (!mailbox_push(box, &mail)) {
            sched_yield();
        }
    }
}

Test(loop_mailbox, every_mail_crosses_once_and_in_order)
{
    struct mailbox *box = mailbox_new(256);
    struct thread  *writer;
    cr_assert_eq(thread_start(&writer, "writer", -1, write_all, box), 0);
    for (uint64_t i = 0; i < MAILS; i++) {
        struct mail mail;
        while (!mailbox_pop(box, &mail)) {
            sched_yield();
        }
        cr_assert(mail.number == (uint32_t)i && mail.value == i * i && mail.kind == i % 7 && mail.body == box);
    }
    thread_join(writer);
    struct mail left;
    cr_assert(!mailbox_pop(box, &left));
    mailbox_free(box);
}
