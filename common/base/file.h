// file: reading whole files by mapping, writing whole files or none.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/err.h"

// A file mapped read-only. The data stays valid until file_unmap().
struct file_map {
    const uint8_t *data; // NULL for an empty file
    uint64_t bytes;
};

// ERR_MISSING when it is not there or not a readable regular file. Logs.
ERR_CHECKED enum err file_map(struct file_map *out, const char *path);
void file_unmap(struct file_map *m); // a zeroed one is fine

// Are both there, and one file under whatever names?
bool file_is_same(const char *a, const char *b);

// An output that appears under its final name only when it is whole: written
// to a temporary file beside it, synced, renamed, the directory synced.
struct out_file {
    FILE *stream;    // write here; buffered
    char *path;      // the final name
    char *temporary; // where the bytes are until out_file_commit()
};

// ERR_CREATE when the directory cannot be written, or what is at `path` is not a
// file. Logs. On failure *out is zeroed. The caller ends with out_file_commit() or out_file_discard().
ERR_CHECKED enum err out_file_open(struct out_file *out, const char *path);

// Why a write or the like failed, by its errno: ERR_FULL where a disk or a quota has no room left,
// which is a matter of time; otherwise what the caller says.
enum err file_full_or(int why, enum err otherwise);

// ERR_FULL or ERR_IO when anything could not be written: logs, and nothing
// is left behind. Either way *out is zeroed.
ERR_CHECKED enum err out_file_commit(struct out_file *out);
void out_file_discard(struct out_file *out); // a zeroed one is fine

// The last bytes of a name, `most` of them or fewer: whole characters of UTF-8. What is put before or after a name
// makes it longer than file systems take.
const char *file_name_end(const char *name, size_t most);

// The temporary name beside `path` that out_file uses: "DIR/.NAME.PID.part"; of a very long name its end.
// The caller frees it. NULL when out of memory. For writers that cannot write
// to a FILE (a muxer); they finish with file_publish().
char *file_temporary_name(const char *path);

// Removes what processes that are no more have left in `directory` under temporary names of
// files called `name`; "": of any.
void file_remove_strays(const char *directory, const char *name);
void file_remove_strays_of(const char *path); // of this file

// Sync `temporary`, rename it to `path`, sync the directory. Logs; on failure
// the temporary file is removed.
ERR_CHECKED enum err file_publish(const char *temporary, const char *path);

// So that a name in it that is new or another is there after a power failure. ERR_FULL, ERR_IO. Logs.
ERR_CHECKED enum err file_sync_directory_of(const char *path);

// False: another process has this folder. Until *lock, a descriptor or -1, is closed nobody else
// gets it. A file system that cannot lock a folder (NFS) is trusted to have one user of it.
bool file_lock_directory(const char *path, int *lock);

// mkdir -p. ERR_CREATE when that cannot be. Logs.
ERR_CHECKED enum err file_make_directory(const char *path);
