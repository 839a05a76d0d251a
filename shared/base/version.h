/* version - of Keel: what --version, $SYS/broker/version and the metric keel_build_info say. Raised with every release. */
#ifndef KEEL_SHARED_BASE_VERSION_H
#define KEEL_SHARED_BASE_VERSION_H

#define KEEL_VERSION "0.1.0"
/* As Prometheus has it: a 1 whose label is the word. */
#define VERSION_METRIC                                        \
    "# HELP keel_build_info Which version of Keel this is.\n" \
    "# TYPE keel_build_info gauge\n"                          \
    "keel_build_info{version=\"" KEEL_VERSION "\"} 1\n"

#endif
