// The hub and the folders that films may lie in. Their file systems may be others' machines: none is touched before it
// is known to answer.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/hub/hub_internal.h"

bool hub_answers(struct hub *h, const char *path)
{
    return mounts_answer(&h->mounts, h->p.media, path, h->looked_s);
}

enum place hub_place_of(struct hub *h, const char *path)
{
    return mounts_place(&h->mounts, h->p.media, path, h->looked_s);
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

// Of what is there; what is not keeps no job from waiting for it.
static enum place place_if_there(struct hub *h, const char *path)
{
    const enum place place = hub_place_of(h, path);
    if (place != PLACE_MISSING)
        return place;
    return access(path, F_OK) == 0 ? PLACE_SILENT : PLACE_MEDIA; // its root is away, or was
}

// What was refused when it was submitted is refused when it is to be read or written, too: links
// may have changed since, or the folders.
enum place hub_place_of_job(struct hub *h, const char *film, const char *output)
{
    char folder[WIRE_PATH_BYTES];
    if (!hub_folder_of(folder, output))
        return PLACE_ELSEWHERE;
    if (!hub_answers(h, output)) // which may be a link
        return PLACE_SILENT;
    const enum place of_film = place_if_there(h, film);
    return of_film == PLACE_MEDIA ? place_if_there(h, folder) : of_film;
}
