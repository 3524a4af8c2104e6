// replay: runs one fuzzing target over every file of the folders it is given, where
// libFuzzer is not at hand.
#include <dirent.h>
#include <stdio.h>

#include "common/base/file.h"
#include "tests/fuzz/fuzz.h"

static int replay_file(const char *path)
{
    struct file_map m;
    if (file_map(&m, path))
        return 1;
    LLVMFuzzerTestOneInput(m.data ? m.data : (const uint8_t *) "", (size_t) m.bytes);
    file_unmap(&m);
    return 0;
}

static int replay_folder(const char *folder, unsigned *files)
{
    DIR *directory = opendir(folder);
    if (!directory)
        return 1;
    int failed = 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        char path[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        failed |= replay_file(path);
        (*files)++;
    }
    closedir(directory);
    return failed;
}

int main(int argc, char **argv)
{
    unsigned files = 0;
    int failed = 0;
    for (int i = 1; i < argc; i++)
        failed |= replay_folder(argv[i], &files);
    printf("%u inputs replayed\n", files);
    return failed || files == 0;
}
