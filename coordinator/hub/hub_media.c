// The hub and the folders that films may lie in. Their file systems may be others' machines: none is touched before it
// is known to answer.
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/hub/hub_internal.h"

bool hub_answers(struct hub *h, const char *path)
{
    return mounts_answer(&h->mounts, h->p.media, path, h->looked_s);
}

enum hub_place hub_place_of(struct hub *h, const char *path)
{
    char real[PATH_MAX], root[PATH_MAX];
    enum hub_place place = PLACE_ELSEWHERE;
    if (path[0] != '/')
        return PLACE_ELSEWHERE;
    if (!hub_answers(h, path))
        return PLACE_SILENT;
    if (!realpath(path, real))
        return PLACE_ELSEWHERE;
    for (const char *const *m = h->p.media; *m; m++) {
        const bool answers = hub_answers(h, *m);
        const size_t n = answers && realpath(*m, root) ? strlen(root) : 0;
        if (n && !strncmp(real, root, n) && (n == 1 || real[n] == '/' || real[n] == 0))
            return PLACE_MEDIA;
        place = answers ? place : PLACE_SILENT;
    }
    return place;
}

bool hub_folder_of(char folder[WIRE_PATH_BYTES], const char *path)
{
    snprintf(folder, WIRE_PATH_BYTES, "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash || !slash[1])
        return false;
    slash[slash == folder] = 0;
    return true;
}

// What was refused when it was submitted is refused when it is to be read or written, too: links
// may have changed since, or the folders.
enum hub_place hub_place_of_job(struct hub *h, const char *film, const char *output)
{
    char folder[WIRE_PATH_BYTES];
    if (!hub_folder_of(folder, output))
        return PLACE_ELSEWHERE;
    if (!hub_answers(h, film) || !hub_answers(h, output))
        return PLACE_SILENT;
    const enum hub_place of_film =
        access(film, F_OK) == 0 ? hub_place_of(h, film) : PLACE_MEDIA;
    return of_film == PLACE_MEDIA && access(folder, F_OK) == 0 ? hub_place_of(h, folder)
                                                               : of_film;
}
