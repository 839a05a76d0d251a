# Keel: a message platform in C. Rooms: shared/ (ground floor), broker/ (protocols), segstore/ (storage), tests/, bench/, deploy/.
#   make run     installs what building needs, builds, starts `keel dev` with its data in ./data
#   make test    installs what tests need, too, builds, runs every test; ends with "N passed, N failed"
#   make         builds build/keel, build/keel-broker, build/keel-segstore      make deps    installs the Debian packages of all of this
#   make unit    the unit tests, a minute     make e2e   real processes     make lint   layers, lone headers, exits, clang-format, clang-tidy
#   make sim SEED=n RUNS=n    simulated clusters      make fuzz SECONDS=n    every decoder      make chaos   faults of machines, networks and disks, long
#   make sim-mutants          breaks the code on purpose and sees whether a test finds it, long      tests/README.md: one test of each kind
#   make asan, make tsan      the tests under a sanitizer    MODE=release|debug|asan|tsan chooses build/$(MODE)
#   make bench   the table in bench/README.md      make format   clang-format      make clean   removes build/      V=1 shows how programs are linked
#   make install [PREFIX=/usr] [DESTDIR=..]    programs, units of systemd and documents; the configuration when there is none
# Every .c under shared/, broker/ and segstore/ is found by itself; main.c files are the programs.

MODE ?= release
B    := build/$(MODE)
CC   ?= gcc
CLANG ?= clang

CSTD    := -std=gnu17 -D_GNU_SOURCE -I.
WARN    := -Wall -Wextra -Werror -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
CFLAGS_release := -O2 -g -march=x86-64-v3 -fno-plt
CFLAGS_debug   := -Og -g3 -DKEEL_SLOW_CHECKS -DXXH_NO_INLINE_HINTS=1
CFLAGS_asan    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -DKEEL_SLOW_CHECKS
CFLAGS_tsan    := -O1 -g -fsanitize=thread -DKEEL_SLOW_CHECKS
LDFLAGS_asan   := -fsanitize=address,undefined
LDFLAGS_tsan   := -fsanitize=thread
CFLAGS  += $(CSTD) $(WARN) $(CFLAGS_$(MODE)) -MMD -MP
LDFLAGS += $(LDFLAGS_$(MODE))
# jemalloc stays out of sanitizer builds: they bring their own allocator.
MALLOC_release := -ljemalloc
MALLOC_debug   := -ljemalloc
# AES-GCM on wide registers, of amd64 alone; built without when it is not there (broker/transport/gcm).
comma := ,
IPSEC_MB := $(if $(wildcard /usr/include/intel-ipsec-mb.h),-Wl$(comma)--push-state$(comma)--as-needed -lIPSec_MB -Wl$(comma)--pop-state)
LIBS := -luring -lssl -lcrypto -lwslay -lhttp_parser -lyaml -ljansson -lmicrohttpd -lcurl -largon2 -ljwt $(IPSEC_MB) -lpthread -lm $(MALLOC_$(MODE))

BUILD_DEPS := gcc libc6-dev make liburing-dev libjemalloc-dev libxxhash-dev libyaml-dev libjansson-dev libmicrohttpd-dev libcurl4-openssl-dev \
              libssl-dev libwslay-dev libhttp-parser-dev libargon2-dev libjwt-dev $(if $(filter x86_64,$(shell uname -m)),libipsec-mb-dev)
TEST_DEPS  := clang clang-format clang-tidy libclang-rt-14-dev libcriterion-dev openssl python3 python3-cryptography python3-paho-mqtt mosquitto \
              mosquitto-clients libpaho-mqtt-dev fio curl procps haproxy iproute2 nftables e2fsprogs

MAINS    := broker/main.c segstore/main.c keel/main.c
SOURCES  := $(shell find shared broker segstore keel -name '*.c' 2>/dev/null | sort)
EDGE     := $(wildcard shared/loop/uring*.c shared/loop/thread.c shared/loop/workers.c shared/loop/web.c)
CORE     := $(filter-out $(MAINS) $(EDGE),$(SOURCES))
# The store client's tests have a program of their own: the kernel's put another store in its place, and these put another world below it.
UNIT     := $(shell find tests/unit -name '*.c' -not -path 'tests/unit/broker/store/*' 2>/dev/null | sort)
UNIT_STORE := $(shell find tests/unit/broker/store -name '*.c' 2>/dev/null | sort)
SIM      := $(shell find tests/sim -name '*.c' 2>/dev/null | sort)
CRASH    := $(wildcard tests/crash/*.c)
FUZZ     := $(notdir $(basename $(wildcard tests/fuzz/fuzz_*.c)))
BENCH    := $(notdir $(basename $(wildcard bench/micro/*.c bench/load/*.c)))
obj       = $(patsubst %.c,$(B)/%.o,$(1))
# One word instead of a command of 5 KB. (tests/mutants.py reads what `make -n` prints: commands are apart by ; there.)
LD        = $(if $(V),,@echo "LD $@"; )mkdir -p $(@D); $(CC) $(LDFLAGS) -o $@

PROGRAMS := $(if $(wildcard broker/main.c),build/keel-broker) $(if $(wildcard segstore/main.c),build/keel-segstore) \
            $(if $(wildcard keel/main.c),build/keel)

.PHONY: all programs run install test deps build-deps lint sim sim-mutants fuzz chaos bench asan tsan clean unit e2e clients next format $(PROGRAMS)
all: $(PROGRAMS)
programs: $(patsubst build/%,$(B)/bin/%,$(PROGRAMS))

# The programs live in build/ whatever the mode; the last mode built is the one that runs.
build/keel-broker:   $(B)/bin/keel-broker   ; @ln -sf $(MODE)/bin/keel-broker $@
build/keel-segstore: $(B)/bin/keel-segstore ; @ln -sf $(MODE)/bin/keel-segstore $@
build/keel:          $(B)/bin/keel          ; @ln -sf $(MODE)/bin/keel $@

# They name each other: the core waits through the port, the edge fulfils it.
ARCHIVES  = -Wl,--start-group $(B)/libcore.a $(B)/libedge.a -Wl,--end-group
$(B)/libcore.a: $(call obj,$(CORE))
	@rm -f $@; ar rcs $@ $^
$(B)/libedge.a: $(call obj,$(EDGE))
	@rm -f $@; ar rcs $@ $^
$(B)/bin/keel-broker:   $(B)/broker/main.o   $(B)/libcore.a $(B)/libedge.a ; $(LD) $(filter %.o,$^) $(ARCHIVES) $(LIBS)
$(B)/bin/keel-segstore: $(B)/segstore/main.o $(B)/libcore.a $(B)/libedge.a ; $(LD) $(filter %.o,$^) $(ARCHIVES) $(LIBS)
$(B)/bin/keel:          $(B)/keel/main.o     $(B)/libcore.a $(B)/libedge.a ; $(LD) $(filter %.o,$^) $(ARCHIVES) $(LIBS)
$(B)/unit: $(call obj,$(UNIT)) $(B)/libcore.a $(B)/libedge.a ; $(LD) $(filter %.o,$^) $(ARCHIVES) $(LIBS) -lcriterion
$(B)/unit_store: $(call obj,$(UNIT_STORE)) $(B)/libcore.a ; $(LD) $(filter %.o,$^) $(B)/libcore.a $(filter-out -luring,$(LIBS)) -lcriterion
# What has unlikely branches is compiled again for the simulator, where they are likely; the archive's own copies are then not taken.
BUGGY := $(shell grep -lrw BUGGIFY shared broker segstore --include='*.c' 2>/dev/null)
$(B)/buggy/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -DKEEL_BUGGIFY -c -o $@ $<
$(B)/sim:  $(call obj,$(SIM)) $(patsubst %.c,$(B)/buggy/%.o,$(BUGGY)) $(B)/libcore.a ; $(LD) $(filter %.o,$^) $(B)/libcore.a $(filter-out -luring,$(LIBS))
# Its trace.c stands between the store and the port.
CRASH_WRAP := $(foreach f,mkdir file_open file_close write write_durable allocate sync sync_directory rename unlink,-Wl,--wrap=io_$(f))
$(B)/crash: $(call obj,$(CRASH)) $(B)/libcore.a $(B)/libedge.a ; $(LD) $(CRASH_WRAP) $(filter %.o,$^) $(ARCHIVES) $(LIBS)
# The segment store as a newer minor version may be (shared/rpc/next.h), for the test that upgrades a cluster; not installed.
NEXT := $(shell grep -lrwE 'NEXT_FIELDS|NEXT_FRAME|RPC_VERSION_MINOR' shared segstore --include='*.c' 2>/dev/null)
$(B)/next/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -DKEEL_NEXT -c -o $@ $<
$(B)/next/keel-segstore: $(B)/segstore/main.o $(patsubst %.c,$(B)/next/%.o,$(NEXT)) $(B)/libcore.a $(B)/libedge.a ; $(LD) $(filter %.o,$^) $(ARCHIVES) $(LIBS)
next: $(B)/next/keel-segstore
$(B)/bench/%: $(B)/bench/%.o $(B)/libcore.a $(B)/libedge.a ; $(LD) $< $(ARCHIVES) $(LIBS)
$(B)/tests/sanitizer/%: $(B)/tests/sanitizer/%.o $(B)/libcore.a $(B)/libedge.a ; $(LD) $< $(ARCHIVES) $(LIBS)
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<
-include $(shell find $(B) build/fuzz/obj -name '*.d' 2>/dev/null)

deps:
	@tests/deps.sh $(BUILD_DEPS) $(TEST_DEPS)
build-deps:
	@tests/deps.sh $(BUILD_DEPS)
run: build-deps
	@$(MAKE) --no-print-directory -j$$(nproc) all
	build/keel dev --data data
# The units name the places that PREFIX says. Whoever has a configuration keeps it.
PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
DOCUMENTS  := $(DESTDIR)$(PREFIX)/share/doc/keel
UNITS      := $(DESTDIR)$(PREFIX)/lib/systemd/system
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DOCUMENTS)/docs $(DOCUMENTS)/deploy $(DOCUMENTS)/bench $(UNITS) $(DESTDIR)$(SYSCONFDIR)/keel
	install $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin
	install -m 644 README.md ARCHITECTURE.md LICENSE $(DOCUMENTS)
	install -m 644 docs/*.md $(DOCUMENTS)/docs
	install -m 644 bench/README.md $(DOCUMENTS)/bench
	install -m 644 deploy/keel.yaml deploy/90-keel.conf deploy/kernel-settings.md $(DOCUMENTS)/deploy
	for unit in keel-segstore keel-broker; do \
	    sed 's|/usr/|$(PREFIX)/|; s|/etc/|$(SYSCONFDIR)/|' deploy/$$unit.service >$(UNITS)/$$unit.service && chmod 644 $(UNITS)/$$unit.service || exit 1; done
	[ -e $(DESTDIR)$(SYSCONFDIR)/keel/keel.yaml ] || install -m 644 deploy/keel.yaml $(DESTDIR)$(SYSCONFDIR)/keel/keel.yaml
unit: $(B)/unit $(B)/unit_store
	$(B)/unit
	$(B)/unit_store
test: deps
	@tests/run.sh
lint:
	@tests/lint/lint.sh
SEED ?= 1
RUNS ?= 200
sim: $(B)/sim
	$(B)/sim --seed=$(SEED) --runs=$(RUNS)
# Not part of make test: every fault is built and looked for by itself. MUTANT=word takes those lines of tests/sim/mutants.txt that contain it.
sim-mutants:
	@tests/mutants.py "$(MUTANT)"
SECONDS ?= 20
fuzz: $(addprefix build/fuzz/,$(FUZZ))
	@tests/fuzz/run.sh $(SECONDS) $^
# Only what decoders need: pure rooms, built by clang with coverage.
FUZZ_CORE := $(filter shared/base/% shared/mem/% shared/record/% shared/rpc/% shared/config/% segstore/log/% segstore/raft/% segstore/status/% segstore/stripe/% segstore/placement/%,$(SOURCES)) segstore/node/replica/message.c segstore/node/replica/members.c \
             $(filter-out %/kernel_api.c,$(filter broker/protocol/% broker/topic/% broker/auth/%,$(SOURCES))) broker/kernel/topic.c \
             broker/kernel/hashmap.c broker/transport/ws.c broker/transport/upgrade.c broker/transport/proxy.c
FUZZ_LIBS := -lyaml -lcrypto -lwslay -lhttp_parser -largon2 -ljwt -ljansson
FUZZ_FLAGS := $(CSTD) -Wall -Wextra -Werror -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -DKEEL_SLOW_CHECKS
fuzz_obj = $(patsubst %.c,build/fuzz/obj/%.o,$(1))
.PRECIOUS: build/fuzz/obj/%.o
build/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CLANG) $(FUZZ_FLAGS) -MMD -MP -c -o $@ $<
build/fuzz/libcore.a: $(call fuzz_obj,$(FUZZ_CORE))
	@rm -f $@; ar rcs $@ $^
# What one side makes of anything that the other says: the whole broker below its protocols over a played store; the whole store in a simulated world.
build/fuzz/fuzz_reply: $(call fuzz_obj,$(filter broker/kernel/% broker/store/%,$(SOURCES)) tests/unit/broker/store/far_store.c)
build/fuzz/fuzz_request: $(call fuzz_obj,$(filter segstore/disk/% segstore/node/%,$(SOURCES)) shared/loop/mailbox.c shared/loop/desk.c \
                         $(filter-out tests/sim/main.c tests/sim/assert_sim.c tests/sim/scenario_% tests/sim/cluster.c tests/sim/mqtt% tests/sim/store_%,$(SIM)))
build/fuzz/fuzz_channel: $(call fuzz_obj,broker/kernel/channel.c)
build/fuzz/fuzz_pulse: $(call fuzz_obj,segstore/node/peers/pulse.c)
build/fuzz/%: build/fuzz/obj/tests/fuzz/%.o build/fuzz/libcore.a
	$(CLANG) $(FUZZ_FLAGS) -o $@ $(filter-out %.a,$^) build/fuzz/libcore.a $(FUZZ_LIBS)
e2e: all clients next
	tests/e2e/run.py
chaos: all $(B)/crash
	tests/e2e/chaos.py
bench: all $(addprefix $(B)/bench/load/,$(notdir $(basename $(wildcard bench/load/*.c)))) $(addprefix $(B)/bench/micro/,$(notdir $(basename $(wildcard bench/micro/*.c))))
	bench/run.py
# The programs of tests/sanitizer, then the tests; KEEL_BUILD tells the e2e tests which programs to start and to be patient.
SANITIZER := $(patsubst %.c,%,$(wildcard tests/sanitizer/*.c))
asan: clients
	@$(MAKE) --no-print-directory MODE=asan programs next build/asan/unit build/asan/unit_store build/asan/sim $(addprefix build/asan/,$(SANITIZER))
	@for each in $(addprefix build/asan/,$(SANITIZER)); do $$each || exit 1; done
	build/asan/unit -j2
	build/asan/unit_store -j2
	build/asan/sim --seed=$(SEED) --runs=50
	KEEL_BUILD=asan tests/e2e/run.py
# Criterion cannot run under tsan.
tsan: clients
	@$(MAKE) --no-print-directory MODE=tsan programs next build/tsan/sim $(addprefix build/tsan/,$(SANITIZER))
	@for each in $(addprefix build/tsan/,$(SANITIZER)); do $$each || exit 1; done
	build/tsan/sim --seed=$(SEED) --runs=20
	KEEL_BUILD=tsan tests/e2e/run.py
clients: build/clients/wrong_clock.so $(addprefix build/clients/,$(notdir $(basename $(wildcard tests/e2e/clients/*.c))))
build/clients/wrong_clock.so: tests/e2e/process/wrong_clock.c
	@mkdir -p $(@D)
	$(CC) $(CSTD) $(WARN) -O1 -g -shared -fPIC -o $@ $<
build/clients/%: tests/e2e/clients/%.c
	@mkdir -p $(@D)
	$(CC) $(CSTD) $(WARN) -O1 -g -o $@ $< -lpaho-mqtt3cs
format:
	clang-format -i $$(git ls-files '*.c' '*.h')
clean:
	rm -rf build
