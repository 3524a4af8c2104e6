// simulation: farms at random, each from a seed, played through and looked at after every
// step. `simulation --seeds FROM COUNT` plays many and says which fail, `--seed N` one, with
// all that happens in it. See sim.h.
#include "tests/simulation/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/log.h"

// The longest that a farm at rest may take, beside its work.
#define SLACK_S 300.0
#define TELL_EVERY 50000 // seeds: of a run that is cut short, so much is known

static void make_worker(struct sim *s, size_t i, bool good)
{
    struct sim_worker *w = &s->workers[i];
    *w = (struct sim_worker){
        .memory = good ? 16 : 4 + 4 * sim_below(s, 4),
        .speed = 0.5 * (good ? 1 + sim_unit(s) : 1 + 9 * sim_unit(s)), // 1 to 10 apart
        .fails = good                 ? 0
                 : sim_chance(s, 250) ? 100
                 : sim_chance(s, 200) ? 30
                                      : 0,
        .slots = 1 + (uint32_t) sim_below(s, 2),
        .ahead = (uint32_t) sim_below(s, 2),
    };
    snprintf(w->name, sizeof(w->name), "w%zu", i);
    snprintf(w->model, sizeof(w->model), "m%d", !good && sim_chance(s, 200) ? 2 : 1);
    sim_at(s, 2 * sim_unit(s), SIM_START, i, 0);
}

static void make_job(struct sim *s, struct sim_job *j)
{
    const uint32_t cues = 1 + (uint32_t) sim_below(s, 3);
    snprintf(j->model, sizeof(j->model), "m1");
    j->memory = sim_chance(s, 300) ? 8 + 4 * sim_below(s, 3) : 0;
    for (uint32_t cue = 0; cue < cues; cue++) {
        const uint32_t places = 1 + (uint32_t) sim_below(s, 4);
        for (uint32_t place = 0; place < places && j->count < SIM_SEGMENTS; place++)
            j->segments[j->count++] =
                (struct sim_segment){ .cue = cue,
                                      .place = place,
                                      .audio_ms = 1000 + (int64_t) sim_below(s, 6000),
                                      .poison = sim_chance(s, 4) };
    }
}

static void make_world(struct sim *s)
{
    s->storm_s = 10 + 40 * sim_unit(s);
    s->lose = sim_chance(s, 500) ? 0 : (unsigned) sim_below(s, 100);
    s->twice = sim_chance(s, 500) ? 0 : (unsigned) sim_below(s, 150);
    s->late_s = sim_chance(s, 300) ? 3 : 0.3;
    s->turn_s = sim_chance(s, 200) ? 2 : 0.1;
    s->worker_count = 1 + sim_below(s, SIM_WORKERS);
    s->job_count = 1 + sim_below(s, SIM_JOBS);
    double work_s = 0;
    for (size_t i = 0; i < s->worker_count; i++)
        make_worker(s, i, i == 0);
    for (size_t i = 0; i < s->job_count; i++) {
        make_job(s, &s->jobs[i]);
        for (uint32_t k = 0; k < s->jobs[i].count; k++)
            work_s += (double) s->jobs[i].segments[k].audio_ms / 1000;
    }
    s->end_s = s->storm_s + SLACK_S + 3 * work_s / s->workers[0].speed;
    sim_at(s, 1, SIM_FAULT, 0, 0);
    sim_coordinator_start(s);
}

// Something goes wrong, and some time later something else.
static void fault(struct sim *s)
{
    const size_t worker = sim_below(s, s->worker_count);
    if (s->now >= s->storm_s) {
        s->kill_in = 0;
        if (!s->foreman.ledger || s->killed)
            sim_at(s, 1, SIM_FAULT, 0, 0);
        else
            sim_make_good(s);
        return;
    }
    switch (sim_below(s, 10)) {
    case 0:
        if (s->foreman.ledger) {
            sim_coordinator_stop(s);
            sim_at(s, 0.5 + 4 * sim_unit(s), SIM_COORDINATOR_START, 0, 0);
        }
        break;
    case 1:
    case 2:
        s->kill_in = 1 + (unsigned) sim_below(s, 5);
        s->kill_before = sim_chance(s, 500);
        break;
    case 3:
    case 4: sim_worker_kill(s, worker, 0.5 + 15 * sim_unit(s)); break;
    case 5: sim_worker_stop(s, worker, 1 + 20 * sim_unit(s)); break;
    case 6: sim_worker_drain(s, worker); break;
    default: sim_order(s); break;
    }
    sim_at(s, 0.5 + 6 * sim_unit(s), SIM_FAULT, 0, 0);
}

static bool all_is_over(struct sim *s)
{
    struct ledger_job row;
    if (s->now < s->storm_s + 1 || !s->foreman.ledger)
        return false;
    for (size_t i = 0; i < s->job_count; i++)
        if (!s->jobs[i].id || ledger_job(s->foreman.ledger, s->jobs[i].id, &row) ||
            !job_state_is_over(row.state))
            return false;
    return true;
}

static void happen(struct sim *s, const struct sim_event *e)
{
    struct sim_message m;
    switch (e->kind) {
    case SIM_TO_COORDINATOR:
        m = sim_receive(s, e->message);
        sim_coordinator_message(s, &m);
        break;
    case SIM_TO_WORKER:
        m = sim_receive(s, e->message);
        sim_worker_message(s, &m);
        break;
    case SIM_TICK: sim_worker_tick(s, e->what, e->segment); break;
    case SIM_TURN:
        if (e->what != s->restarts)
            break;
        sim_coordinator_turn(s);
        if (e->segment && s->foreman.ledger)
            sim_at(s, 0.5, SIM_TURN, s->restarts, 1);
        break;
    case SIM_PLANNED:
    case SIM_PICTURES:
    case SIM_PUBLISHED: sim_coordinator_child(s, e); break;
    case SIM_FAULT: fault(s); break;
    case SIM_START: sim_worker_start(s, e->what); break;
    case SIM_COORDINATOR_START: sim_coordinator_start(s); break;
    case SIM_WAKE: sim_worker_wake(s, e->what); break;
    }
}

struct totals {
    uint64_t leases, accepts, restarts, checks, events, failed;
    double simulated_s;
};

static bool play(struct sim_disk *disk, uint64_t seed, bool trace, struct totals *t)
{
    struct sim *s = calloc(1, sizeof(*s));
    struct sim_event e;
    if (!s || sim_disk_clear(disk))
        abort();
    s->disk = disk;
    s->seed = s->random = seed;
    s->trace = trace;
    make_world(s);
    while (!s->is_wrong && sim_next(s, &e)) {
        happen(s, &e);
        t->events++;
        if (e.kind == SIM_TURN && e.segment && all_is_over(s))
            break;
        if (s->now > s->end_s)
            break;
    }
    if (!s->is_wrong && !s->foreman.ledger)
        sim_wrong(s, "there is no coordinator at the end");
    if (!s->is_wrong)
        sim_check_end(s);
    const bool fine = !s->is_wrong;
    t->leases += s->leases, t->accepts += s->accepts, t->restarts += s->restarts - 1,
        t->checks += s->checks;
    t->failed += !fine, t->simulated_s += s->now;
    if (s->foreman.ledger)
        sim_coordinator_stop(s);
    sim_clock_finish(s);
    free(s);
    return fine;
}

static void tell(const struct totals *t, uint64_t from, uint64_t played, clock_t begun)
{
    const double took = (double) (clock() - begun) / CLOCKS_PER_SEC;
    printf(
        "%llu farms from seed %llu on in %.1f s (%.2f ms each): %.0f hours, %llu events, %llu looks at all of it; "
        "%llu leases, %llu results accepted, %llu starts of a coordinator; %llu failed\n",
        (unsigned long long) played, (unsigned long long) from, took,
        1000 * took / (double) played, t->simulated_s / 3600, (unsigned long long) t->events,
        (unsigned long long) t->checks, (unsigned long long) t->leases,
        (unsigned long long) t->accepts, (unsigned long long) t->restarts,
        (unsigned long long) t->failed);
    fflush(stdout);
}

static int usage(void)
{
    fprintf(stderr, "simulation --seeds FROM COUNT | --seed N\n");
    return 64;
}

int main(int argc, char **argv)
{
    struct totals t = { 0 };
    struct sim_disk disk = { 0 };
    const bool one = argc == 3 && !strcmp(argv[1], "--seed");
    if (!one && !(argc == 4 && !strcmp(argv[1], "--seeds")))
        return usage();
    const uint64_t from = strtoull(argv[2], NULL, 10),
                   count = one ? 1 : strtoull(argv[3], NULL, 10);
    sqlite3_config(SQLITE_CONFIG_URI, 1); // the ledger's name here is one
    sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    log_init("simulation", one ? LOG_INFO : LOG_QUIET);
    if (!one && !freopen("/dev/null", "w", stderr)) // orders that make no sense are logged, too
        return 1;
    const clock_t begun = clock();
    uint64_t played = 0;
    while (played < count && t.failed < 10) {
        play(&disk, from + played++, one, &t);
        if (played % TELL_EVERY == 0 && played < count)
            tell(&t, from, played, begun);
    }
    sim_disk_finish(&disk);
    tell(&t, from, played, begun);
    return t.failed > 0;
}
