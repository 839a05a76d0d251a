/* sending - images on their way to other nodes: what the two files that send them share; nobody else includes this.
 *
 *   image_send.c  who is sent what, together with whom, and who is left behind; its end
 *   sending.c     an image: made, the records that it names, then itself
 *
 * Threads: the shard.   Units: ns; bytes. */
#ifndef KEEL_SEGSTORE_NODE_IMAGE_SENDING_H
#define KEEL_SEGSTORE_NODE_IMAGE_SENDING_H

#include "segstore/log/hold.h"
#include "segstore/log/pick.h"
#include "segstore/log/positions.h"
#include "segstore/node/image/image.h"
#include "segstore/node/image/walk.h"

/* A slice of the image that waits to be sent. */
struct image_part {
    struct list        link;
    struct wire_writer bytes;
};

struct image_out {
    struct list           link; /* node->images_out, images_behind; when all is sent images_waiting; image_walk->over */
    struct node          *node;
    struct node_stripe   *st;
    uint16_t              to;
    uint64_t              transfer;
    uint64_t              index;
    uint64_t              log_term;
    uint64_t              chain;
    uint64_t              term; /* of the lead that sends it */
    struct raft_members   members;
    struct stripe_saving *saving; /* while it is made */
    struct list           parts;
    size_t                part_at; /* of the first: sent */
    uint64_t              image_bytes;
    XXH3_state_t         *sum;
    struct positions      positions; /* of live records */
    struct hold           hold;      /* the segments that they lie in */
    bool                  sorted;
    struct positions      lost;     /* of them, those that no node has: they are holes in the image */
    struct pick           pick;     /* of them, what is sent */
    uint64_t              check_ns; /* when the follower is asked next what became of it */
    bool                  ended;    /* all is sent */
    uint64_t              full_ns;  /* since when its follower takes nothing; 0: it does */
};

/* Of all images that are sent. */
struct image_walk {
    struct node *node;
    struct walk  walk;
    uint64_t     number;    /* of the segment that is walked through; 0: none */
    uint64_t     joined_ns; /* when the last image came */
    uint64_t     wanted_ns; /* when one could not join */
    uint64_t     sent;      /* bytes, since it was asked */
    bool         begun;     /* no other image joins */
    struct list  over;      /* images that came to an end during a read: their files stay until it ends */
};

/* ---- image_send.c ---- */
/* Over, well or not. */
void sending_over(struct image_out *o, bool arrived);
/* All is sent: others are while this one waits for the follower's checkpoint. */
void sending_ended(struct image_out *o);

/* ---- sending.c ---- */
/* Begins to make it: the stripe stands still. */
void sending_make(struct image_out *o);
/* The stripe goes on. */
void sending_made(struct image_out *o);
/* A slice of what comes before anything can be sent; false: all that is done. */
bool sending_prepare(struct image_out *o);
/* One block to all that want something of it, or a part of an image. False: what comes next is being read. */
bool sending_step(struct node *node);
/* Not during a read: no file that is being read may go. */
void                sending_let_go(struct image_out *o);
struct wire_writer *sending_frame(const struct image_out *o, struct peer *peer, enum image_kind kind);

#endif
