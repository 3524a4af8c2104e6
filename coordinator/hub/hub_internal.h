// hub_internal: what the files of the hub share.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "common/base/array.h"
#include "common/parts/parts.h"
#include "common/timeline/plan.h"
#include "common/wire/wire.h"
#include "coordinator/children/children.h"
#include "coordinator/children/patience.h"
#include "coordinator/elastic/start_command.h"
#include "coordinator/fleet/fleet.h"
#include "coordinator/foreman/foreman.h"
#include "coordinator/gate/gate.h"
#include "coordinator/hub/hub.h"
#include "coordinator/ledger/ledger.h"
#include "coordinator/mounts/mounts.h"
#include "coordinator/page/status_server.h"
#include "coordinator/schedule/schedule.h"
#include "coordinator/schedule/weight.h"
#include "coordinator/shelf/shelf.h"
#include "coordinator/spool/spool.h"
#include "coordinator/watch/watch.h"

#define HUB_ROUTE_BYTES 64
#define HUB_MODELS 32

// Where an answer goes: the routing id that ZeroMQ gave the peer; and whose key it has.
// The last that was heard of a connection: sender and connection, mixed, and its count.
#define HUB_HEARD 4096
struct hub_heard {
    uint64_t who, seq;
};

struct hub_route {
    uint8_t id[HUB_ROUTE_BYTES];
    size_t bytes;              // 0: not known
    char node[KEY_NAME_BYTES]; // "": there are no keys
};

// A job under way: what is needed to lease its segments and to look at their results. Read
// when its first pictures are wanted: what only waits takes little memory.
struct hub_job {
    int64_t id;
    struct plan *plan;
    char identity[FILM_IDENTITY_BYTES];
    struct ledger_model model;
    struct part_inputs inputs; // pointing into this struct
    struct patience patience;  // with the extraction of its pictures
    bool postponed;            // they wait for that
};

// A job that waits for a child process.
struct hub_errand {
    int64_t job;
    int what; // enum hub_child
    struct patience patience;
    bool running;
    bool lacks_model;              // it waits until a worker has the model
    char model[WIRE_SHA256_BYTES]; // that it names then; "": any
    struct require require;        // of that worker, likewise
    uint64_t models_then;          // how many had been learnt when it was looked at
};

enum hub_child { CHILD_PLAN, CHILD_FRAMES, CHILD_PUBLISH };

// A result that is coming in.
struct hub_reception {
    int64_t attempt, fence, job;
    uint32_t segment;
    char node[KEY_NAME_BYTES]; // who opened it
    struct incoming in;
    double heard_s;
};

// A result that has come whole: where it is, where it belongs, and who is to hear of it.
struct hub_arrival {
    struct hub_route from;
    struct spool_move move;
};

// What is counted since the start.
struct hub_figures {
    uint64_t attempts[OUTCOMES];
    double music_s, gpu_s;
    double minutes[SNAPSHOT_MINUTES]; // music accepted in each; the last is the present one
    int64_t minute;                   // which that is
};

struct hub {
    struct hub_params p;
    void *zmq, *control, *bulk;
    struct gate gate;
    struct ledger *ledger;
    double ledger_next_s;
    struct spool spool;
    struct fleet fleet;
    struct schedule schedule;
    struct foreman foreman;
    struct children children;
    double hanging_next_s; // when it is next looked which of them hang
    struct mounts mounts;
    struct hub_route *routes; // of the fleet's workers, by place
    size_t route_room;
    struct hub_job **jobs; // by id
    size_t job_count, job_room;
    int64_t unreadable; // a job that is to fail because its files cannot be read; 0: none
    struct hub_errand *errands;
    size_t errand_count, errand_room;
    struct hub_reception *receptions;
    size_t reception_count, reception_room;
    struct hub_arrival arrivals[FOREMAN_ARRIVALS]; // of the results taken
    struct ledger_model models[HUB_MODELS];
    size_t model_count;
    uint64_t models_learnt; // in this process
    struct ledger_queue queue;
    struct status_server *status; // or NULL
    struct hub_figures figures;
    double looked_s, away_s; // when the turn began, by the clock; how long no turn did, so far
    double started_s, next_status_s;
    bool paused;                // the disk does not take what has to be kept
    double frames_not_before_s; // of no job: the disk is full
    double postponed_s;         // when the first of those postponed is to be tried again
    struct watch watch;
    double watch_next_s;
    bool watch_waits;    // for the folder of its outputs
    struct shelf *shelf; // or NULL
    struct elastic elastic;
    struct start_command start_command;
    double elastic_next_s;
    uint64_t seq;
    struct hub_heard heard[2][HUB_HEARD]; // on control, on bulk
    uint64_t dropped; // messages nobody could make sense of, or that came before
    struct wire_message in, out;
};

// hub.c
// Sends h->out; nothing comes of it when the peer is gone or does not keep up: whoever
// needs the answer asks again.
void hub_send(struct hub *h, const struct hub_route *to);
struct wire_message *hub_answer(struct hub *h, enum wire_type type); // h->out, zeroed
void hub_reject(struct hub *h, const struct hub_route *to, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// hub_workers.c
extern const struct foreman_hooks hub_hooks;
void hub_worker_message(struct hub *h, const struct hub_route *from, double now);
void hub_tell_times(struct hub *h); // how often to report, how long a lease is, to all workers
// Those whose keys are revoked: they are told, and what they had is another's.
void hub_expel(struct hub *h, double now);
// A lease of that node, or NULL: what others say of an attempt does not count.
const struct work_lease *hub_lease_of(const struct hub *h, const struct hub_route *from,
                                      int64_t attempt);

// hub_bulk.c
ERR_CHECKED enum err hub_bulk_message(struct hub *h, const struct hub_route *from, double now);
// As in struct foreman_hooks.
ERR_CHECKED enum err hub_bulk_secure(void *user, size_t count);
void hub_bulk_settled(void *user, size_t index, const struct ledger_result *r, bool written);
void hub_bulk_tick(struct hub *h, double now); // receptions that nobody goes on with
void hub_bulk_finish(struct hub *h);

// hub_jobs.c
ERR_CHECKED enum err hub_jobs_load(struct hub *h, double now);
void hub_jobs_finish(struct hub *h);
// One that is in memory; NULL: not under way, or nothing of it leased.
struct hub_job *hub_job_find(const struct hub *h, int64_t job);
// One that has work to do, read if it was not before; NULL: it cannot be read, and will fail.
struct hub_job *hub_job_get(struct hub *h, int64_t job);
ERR_CHECKED enum err hub_job_submitted(struct hub *h, int64_t job);
// As in struct foreman_hooks.
ERR_CHECKED enum err hub_job_activate(void *user, const struct ledger_job *row, double now);
ERR_CHECKED enum err hub_job_wake(void *user, int64_t job, enum job_state state, double now);
ERR_CHECKED enum err hub_job_find_result(void *user, const struct ledger_attempt *a,
                                         bool *goes_on, bool *there, double now);
// It is over, or paused, or goes on: what is in memory follows what the ledger says.
ERR_CHECKED enum err hub_job_follow(struct hub *h, int64_t job, double now);
ERR_CHECKED enum err hub_job_fail(struct hub *h, int64_t job, const char *reason, double now);
ERR_CHECKED enum err hub_job_unreadable(struct hub *h, int64_t job, double now);
// As hub_job_get() of a job with that model, in whatever state it is; ERR_MISSING, ERR_INPUT.
ERR_CHECKED enum err hub_job_load(struct hub *h, int64_t job, const char *sha256,
                                  struct hub_job **out);
void hub_job_forget(struct hub *h, int64_t job);
uint64_t hub_frames_bytes(const struct hub_job *j, uint32_t segment); // of its pictures
// What it asks of workers, as it was when it was submitted.
ERR_CHECKED enum err hub_job_require(const struct hub *h, int64_t job, struct require *out);
// NULL: not among those that the ledger knows.
const struct ledger_model *hub_model_find(const struct hub *h, const char *sha256);

// hub_children.c
ERR_CHECKED enum err hub_children_tick(struct hub *h, double now);
// Errands: what waits for a child process, or has one.
ERR_CHECKED enum err hub_errand_add(struct hub *h, int64_t job, enum hub_child what);
bool hub_errand_has(const struct hub *h, int64_t job, enum hub_child what);
void hub_errands_drop(struct hub *h, int64_t job); // all of a job

// hub_watch.c
ERR_CHECKED enum err hub_watch_tick(struct hub *h, double now);
// hub_elastic.c
void hub_elastic_tick(struct hub *h, double now);
// What becomes of workers being started for a job that waits for one; "": nothing to say.
void hub_elastic_explain(const struct hub *h, int64_t job, double now, char *out, size_t room);

// hub_models.c
ERR_CHECKED enum err hub_models_open(struct hub *h);
// Tells a worker that has no model which one it is to have, if one is wanted.
void hub_offer_model(struct hub *h, size_t place, const struct hub_route *to);
// Does a film wait for a worker to say what its model is like, and could one with what is
// offered do so?
bool hub_lacks_model(const struct hub *h, const struct require *offer);
void hub_on_fetch_model(struct hub *h, const struct hub_route *from);

// hub_nodes.c
ERR_CHECKED enum err hub_nodes_load(struct hub *h);
void hub_on_nodes(struct hub *h, const struct hub_route *from, double now);
ERR_CHECKED enum err hub_on_node_order(struct hub *h, const struct hub_route *from);

// hub_admin.c
ERR_CHECKED enum err hub_on_queue(struct hub *h, const struct hub_route *from);
ERR_CHECKED enum err hub_on_ledger(struct hub *h, const struct hub_route *from);
void hub_ledger_tick(struct hub *h, double now); // a ledger that somebody removed is said
ERR_CHECKED enum err hub_on_logs(struct hub *h, const struct hub_route *from);

// hub_status.c
ERR_CHECKED enum err hub_status_open(struct hub *h);
void hub_status_tick(struct hub *h, double now);
void hub_count(struct hub *h, enum outcome outcome, double music_s, double gpu_s, double now);

// hub_media.c
enum place hub_place_of(struct hub *h, const char *path); // as mounts_place()
bool hub_answers(struct hub *h, const char *path);        // as mounts_answer()
// Of a file that need not be there yet; false for what cannot be one.
bool hub_folder_of(char folder[WIRE_PATH_BYTES], const char *path);
// Are a job's film and output still in media folders? What is not there is no reason.
enum place hub_place_of_job(struct hub *h, const char *film, const char *output);

// hub_clients.c
// How the identity ends of a job whose film was of that size and last changed then.
#define HUB_ENDING_BYTES 64
void hub_identity_ending(char out[HUB_ENDING_BYTES], int64_t bytes, struct timespec changed);
ERR_CHECKED enum err hub_client_message(struct hub *h, const struct hub_route *from,
                                        double now);
