#include "coordinator/publish/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/media/film_plan.h"
#include "common/parts/deliver.h"
#include "coordinator/extract/extract.h"

// Of an output's own name, beside the number of its job: file systems take 255.
#define NAME_MOST 220

struct publication {
    struct wire_submit request;
    char *parts, *plan, *delivered, *beside;
    char identity[96]; // of the file beside: device and inode
};

static char *beside(const char *output, int64_t job)
{
    const char *slash = strrchr(output, '/');
    const int folder = slash ? (int) (slash - output) + 1 : 0;
    char *path = NULL;
    // The ending stays: it says which container is wanted.
    const char *name = file_name_end(output + folder, NAME_MOST);
    return asprintf(&path, "%.*s.underscore-%lld-%s", folder, output, (long long) job, name) < 0
               ? NULL
               : path;
}

static enum err prepare(struct publication *p, const char *folder, int64_t job)
{
    const enum err e = extract_request(&p->request, folder);
    if (e)
        return e;
    p->beside = beside(p->request.output, job);
    if (asprintf(&p->parts, "%s/parts", folder) < 0)
        p->parts = NULL;
    if (asprintf(&p->plan, "%s/plan.json", folder) < 0)
        p->plan = NULL;
    if (asprintf(&p->delivered, "%s/delivered", folder) < 0)
        p->delivered = NULL;
    return p->beside && p->parts && p->plan && p->delivered ? ERR_OK : ERR_NOMEM;
}

static bool identify(char *out, size_t room, const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return false;
    snprintf(out, room, "%llu %llu %lld\n", (unsigned long long) st.st_dev,
             (unsigned long long) st.st_ino, (long long) st.st_size);
    return true;
}

// Did this job put what is at the output there, before it was interrupted?
static bool is_delivered(const struct publication *p)
{
    char there[96], kept[96] = "";
    FILE *f = fopen(p->delivered, "re");
    if (!f)
        return false;
    const bool read = fgets(kept, sizeof(kept), f) != NULL;
    fclose(f);
    return read && identify(there, sizeof(there), p->request.output) && !strcmp(there, kept);
}

void publish_forget(const char *output, int64_t job)
{
    char *path = beside(output, job);
    if (path) {
        file_remove_strays_of(path); // of a child that was killed at it
        unlink(path);
    }
    free(path);
}

// Each part was sound when it was accepted; disks forget. What is damaged is put aside, and so
// is not there: whoever started this finds what to compose again.
static enum err examine_parts(const struct publication *p, const struct plan *plan)
{
    enum err all = ERR_OK;
    for (uint32_t i = 0; i < plan->segment_count; i++) {
        const enum err e = part_examine(p->parts, plan, i);
        if (e == ERR_INPUT)
            part_put_aside(p->parts, plan, i);
        else if (e && e != ERR_MISSING)
            return e;
        all = e ? ERR_INPUT : all;
    }
    return all;
}

// The film is looked at once more when all is written: it is not to change meanwhile, either.
static enum err write_film(const struct publication *p, const char *folder)
{
    const struct wire_submit *r = &p->request;
    struct delivery delivery = extract_delivery(r);
    delivery.film = p->beside;
    struct film film = { 0 };
    struct plan *plan = NULL;
    struct delivery_report report;
    enum err e = film_plan_read(&plan, p->plan);
    if (!e)
        e = examine_parts(p, plan);
    if (!e)
        e = extract_check_film(folder, r->film);
    if (!e)
        e = film_plan_film(&film, plan, r->film);
    if (!e)
        e = deliver_parts(plan, p->parts, &film, &delivery, NULL, &report, NULL);
    if (!e) {
        e = extract_check_film(folder, r->film);
        if (e)
            unlink(p->beside);
    }
    plan_destroy(&plan);
    film_release(&film);
    return e;
}

static enum err note_delivered(struct publication *p)
{
    struct out_file f;
    if (!identify(p->identity, sizeof(p->identity), p->beside))
        return ERR_IO;
    const enum err e = out_file_open(&f, p->delivered);
    if (e)
        return e;
    fputs(p->identity, f.stream);
    return out_file_commit(&f);
}

static enum err put_in_place(const struct publication *p)
{
    const char *output = p->request.output;
    if (p->request.overwrite)
        return file_publish(p->beside, output);
    if (renameat2(AT_FDCWD, p->beside, AT_FDCWD, output, RENAME_NOREPLACE) == 0)
        return ERR_OK;
    if (errno == EEXIST) {
        log_error("%s: exists; it is not overwritten", output);
        unlink(p->beside);
        return ERR_CREATE;
    }
    // A file system without that call: a second name, then the first one away.
    if (link(p->beside, output) == 0) {
        unlink(p->beside);
        return ERR_OK;
    }
    const int why = errno;
    // One without second names, either: what appears there at this very moment, it cannot keep.
    if (why != EEXIST && access(output, F_OK) != 0 && rename(p->beside, output) == 0)
        return ERR_OK;
    log_error("%s: cannot create: %s", output, strerror(why));
    unlink(p->beside);
    return ERR_CREATE;
}

enum err publish(const char *folder, int64_t job)
{
    struct publication *p = calloc(1, sizeof(*p));
    enum err e = p ? prepare(p, folder, job) : ERR_NOMEM;
    if (!e && !is_delivered(p)) {
        if (!p->request.overwrite && access(p->request.output, F_OK) == 0) {
            log_error("%s: exists; it is not overwritten", p->request.output);
            e = ERR_CREATE;
        }
        file_remove_strays_of(p->beside);
        if (!e)
            e = write_film(p, folder);
        if (!e)
            e = note_delivered(p);
        if (!e)
            e = put_in_place(p);
    }
    if (!e) // delivered by one that was interrupted, too
        e = file_sync_directory_of(p->request.output);
    if (p) {
        free(p->parts), free(p->plan), free(p->delivered), free(p->beside);
        free(p);
    }
    return e;
}
