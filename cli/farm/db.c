// db: the upkeep of a farm's ledger.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/farm/farm.h"
#include "cli/farm/job_print.h"
#include "cli/verb.h"
#include "common/base/clock.h"
#include "common/base/log.h"

// A ledger of millions of segments takes its time.
#define PATIENCE_S 600
#define DAY_MS (INT64_C(24) * 3600 * 1000)

// A file that no coordinator has open is looked at by underscored, which knows ledgers: the
// one beside this program, else the one on the PATH.
static enum err check_file(const char *file, bool json)
{
    const char *const how = json ? "--json" : NULL;
    char self[4096] = "", beside[4096 + 16];
    if (readlink("/proc/self/exe", self, sizeof(self) - 1) > 0) {
        const char *slash = strrchr(self, '/');
        snprintf(beside, sizeof(beside), "%.*s/underscored", slash ? (int) (slash - self) : 0,
                 self);
        execl(beside, "underscored", "--check-ledger", file, how, (char *) NULL);
    }
    execlp("underscored", "underscored", "--check-ledger", file, how, (char *) NULL);
    log_error("underscored, which looks at ledgers: %s", strerror(errno));
    return ERR_UNAVAILABLE;
}

static enum err ask(struct client *c, enum wire_ledger_order what, int64_t before_ms,
                    const struct wire_message **answer)
{
    struct wire_message *q = client_question(c, WIRE_LEDGER);
    q->ledger.what = what;
    q->ledger.before_ms = before_ms;
    const enum err e = client_ask(c, answer);
    return !e && (*answer)->type != WIRE_LEDGER_DONE ? ERR_UNAVAILABLE : e;
}

static enum err prune(struct client *c, const struct farm_verb *v, int64_t days)
{
    const int64_t before_ms = clock_unix_ms() - days * DAY_MS;
    uint64_t count = 0;
    const struct wire_message *answer;
    enum err e;
    do {
        e = ask(c, WIRE_LEDGER_PRUNE, before_ms, &answer);
        count += e ? 0 : answer->ledger_done.count;
    } while (!e && answer->ledger_done.more);
    if (!e && v->talk.json)
        json_print(json_pack("{s:I}", "forgotten", (json_int_t) count));
    else if (!e)
        printf("%" PRIu64 " jobs forgotten\n", count);
    return e;
}

static enum err check_or_back_up(struct client *c, const struct farm_verb *v,
                                 enum wire_ledger_order what)
{
    const struct wire_message *answer;
    const enum err e = ask(c, what, 0, &answer);
    if (e)
        return e;
    if (v->talk.json)
        json_print(what == WIRE_LEDGER_CHECK
                       ? json_pack("{s:b}", "sound", 1)
                       : json_pack("{s:o}", "backup", json_text(answer->ledger_done.path)));
    else
        printf("%s\n",
               what == WIRE_LEDGER_CHECK ? "the ledger is in order" : answer->ledger_done.path);
    return ERR_OK;
}

static enum err run(const struct farm_verb *v, enum wire_ledger_order what, int64_t days)
{
    struct client *c;
    enum err e = client_open(&c, &v->farm);
    if (e)
        return e;
    client_patience(c, PATIENCE_S);
    e = what == WIRE_LEDGER_PRUNE ? prune(c, v, days) : check_or_back_up(c, v, what);
    client_close(&c);
    return e;
}

enum err verb_db(int argc, char **argv)
{
    static const char *const names[WIRE_LEDGER_ORDERS] = {
        [WIRE_LEDGER_CHECK] = "check",
        [WIRE_LEDGER_BACKUP] = "backup",
        [WIRE_LEDGER_PRUNE] = "prune",
    };
    struct farm_verb v = { 0 };
    int64_t days = -1;
    const struct option_spec own[] = {
        { .name = "Pruning", .kind = OPTION_HEADING },
        { .name = "older-than",
          .kind = OPTION_INT,
          .target = &days,
          .value = "DAYS",
          .min = 0,
          .max = 36500,
          .help = "jobs that ended so many days ago or more" },
        { 0 },
    };
    const struct farm_page about = {
        "underscore db check [FILE] | backup | prune --older-than DAYS",
        "A farm's ledger: look at all of it; copy it, in use as it is, into the folder backups beside it;\n"
        "forget jobs that are long over (their films stay). With FILE, look at a copy, or at the ledger of\n"
        "a coordinator that does not run. Looking at a large ledger in use holds the farm up: back it up\n"
        "and look at the copy.",
        1, 2, own
    };
    enum err e = farm_parse(&v, &about, argc, argv);
    if (e || v.arguments.help_shown)
        return e;
    int what = 0;
    while (what < WIRE_LEDGER_ORDERS && strcmp(v.arguments.values[0], names[what]) != 0)
        what++;
    const char *file = v.arguments.count > 1 ? v.arguments.values[1] : NULL;
    if (what == WIRE_LEDGER_ORDERS || (file && what != WIRE_LEDGER_CHECK) ||
        (what == WIRE_LEDGER_PRUNE) != (days >= 0)) {
        log_error("%s: not understood so; usage: %s", v.arguments.values[0], about.usage);
        return ERR_USAGE;
    }
    return file ? check_file(file, v.talk.json) : run(&v, (enum wire_ledger_order) what, days);
}
