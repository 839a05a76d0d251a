/* seeds - runs that found a bug once: they come first in a run of all scenarios from seed 1 on. The sentence says what was wrong.
 * A change of a scenario or of the world makes another run of the same seed: what a unit test can hold has one as well. */
#ifndef KEEL_TESTS_SIM_SEEDS_H
#define KEEL_TESTS_SIM_SEEDS_H

#include <stdint.h>

struct known_seed {
    const char *scenario;
    uint64_t    seed;
    const char *found;
};

#define KNOWN_SEEDS(X)                                                                                                 \
    X(segstore_crash, 92, "power lost soon after a first start that was killed took the data directory with it")       \
    X(segstore_crash, 112, "the same, with other files")                                                               \
    X(group, 1364, "a follower with an older entry in the place was taken for one without room")                       \
    X(group, 1846, "an image waited for ever for a checkpoint, because one was being written when it came")            \
    X(group_images, 32,                                                                                                \
      "the client wanted fewer transactions than it had sent, and one that nobody asked for was there")                \
    X(group_images, 2000038, "the same")                                                                               \
    X(group_images, 3000340, "the same client had more answered than it wanted, and never sent its trim")              \
    X(group_images, 10119, "the client was told to want fewer transactions than it had sent, and never trimmed")       \
    X(group_images, 4000044, "the same, and a transaction that was sent had left a row that nobody had counted")       \
    X(group_members, 30847, "a change of members that an image had passed over was found again after a restart")       \
    X(group_unknown, 4690000079, "the client sent a row twice, and the second answer counted for the next row")        \
    X(group_stale, 1057, "what was under way over a connection that had been given up was done behind its repetition") \
    X(group_votes, 5000100,                                                                                            \
      "a file went that a checkpoint needed for an entry that it names and its images do not hold")                    \
    X(group_tail, 50000195,                                                                                            \
      "entries that others in a hole had replaced were applied: the log behind it said committed")                     \
    X(group_tail, 4,                                                                                                   \
      "two blocks at the end of the log rotted, and only the stripes of the first were taken for damaged")             \
    X(group_tail, 1,                                                                                                   \
      "a block that rotted was found again in each round, and what had been repaired was given up again")              \
    X(group_tail, 11, "a replica that was whole again did not remember it")                                            \
    X(two_live, 500000361,                                                                                             \
      "what a shard gave a member was not noted when another one of its process had mailed it: a dead process's own "  \
      "mail came behind it")                                                                                           \
    X(two_shared, 500000382, "a delayed message was set by whoever had the session no more, and by its heir")          \
    X(group_spare, 600000039,                                                                                          \
      "the time after which a node is replaced began anew with each leader, and leaders changed more often")           \
    X(group_tail, 100000347,                                                                                           \
      "records that were whole again were damaged once more after a restart: no checkpoint said where they lie")       \
    X(group_leave, 6,                                                                                                  \
      "files of a replica that had left went before a checkpoint knew: a restart found it without its records")        \
    X(group_leave, 134,                                                                                                \
      "an image that was loaded slowly kept its leader from being heard, was dropped, and began anew for ever")        \
    X(group_leave, 79, "a file went while an image that was given up still read it")                                   \
    X(segstore_full, 110, "a large record that found no place in the log held up the trims that would make one")       \
    X(segstore_full, 29, "after a restart on a full disk nothing could be written any more, not even trims")           \
    X(mqtt_qos1, 7024, "a store gave up a broker that only listened, behind a long frame on a slow network")           \
    X(segstore_full, 13, "in a log segment of less than 2 MiB no place was kept for trims")                            \
    X(segstore_full, 21, "of two writes under way the later one arrived, in the next segment: taken for damage")       \
    X(segstore_rot, 1000134, "a stripe whose first entry was lost to rot stayed stopped when the damage was accepted") \
    X(segstore_scrub, 1014, "the log grew while it was read to its end, and the next segment did not follow")          \
    X(shared, 147, "another member was chosen by the next broker, in a stripe that took the message for an old one")   \
    X(shared, 195, "the same")                                                                                         \
    X(shared, 4400000212,                                                                                              \
      "who was chosen for one that had left was recorded twice, the second time taken for another broker's choice: "   \
      "what came behind it was given again")                                                                           \
    X(shared, 100025, "the removal of a leftover file met the new file of its name, and the store ended itself")       \
    X(trouble, 80000054,                                                                                               \
      "a disk that had space again waited for zeros, and these for writes of the log that nobody made")                \
    X(two_live, 80000108, "a broker was taken for the former of one that had died, and never let in again")            \
    X(trouble, 256, "a broker that died behind a cut network kept its successor out for ever")                         \
    X(trouble, 30000006, "a QoS 2 message that was refused and came again made those behind it old: taken, and lost")  \
    X(trouble, 50000039, "the packet id of a message that was refused was forgotten though nobody had been told")      \
    X(trouble, 103373,                                                                                                 \
      "the disk was full for one message and not for the next: asked again, the first was a duplicate")                \
    X(two_live, 7,                                                                                                     \
      "a broker that had been taken for dead went on with later messages before the earlier ones came again")          \
    X(two_live, 93, "the same answered what nobody had taken")                                                         \
    X(two_live, 6052, "a session that was taken over recorded a packet id that its heir had not seen")                 \
    X(two_live, 6326, "the same")                                                                                      \
    X(two_live, 5000128, "the heir was the last process left, and forgot what the dead one had told it already")       \
    X(two_live, 5000164, "the publisher repeated what was handed out before the SUBACK, behind what was after it")     \
    X(two_live, 6002269, "the heir had not told its other shards which message it was")                                \
    X(will, 31, "a session of expiry 0 outlived its broker, and its delayed will was forgotten")                       \
    X(will, 180, "a broker published wills before it knew who is subscribed")                                          \
    X(will, 188, "an opening transaction that was repeated ran the will that it had set itself")                       \
    X(will, 331, "the same was told Session Present of a session that it had made itself")                             \
    X(will, 396, "a broker noticed a dead connection to the store after the store had given it up for lost")           \
    X(group_readback, 20000138,                                                                                        \
      "a node that found an entry unreadable while it campaigned was elected, and waited for itself")                  \
    X(group_holes, 30000057,                                                                                           \
      "a leader that came and went took what was known of the holes with it, and was believed to lead for ever")       \
    X(group, 4350000342,                                                                                               \
      "a whole replica took itself for damaged: the replay began amid entries that had been replaced")                 \
    X(group_holes, 40000072, "a leader gave an image up, and the follower waited for it for ever")

#endif
