#include "cli/verb.h"

#include <stdio.h>

#include "common/base/log.h"

int verb_end(enum err e)
{
    if (fflush(stdout) != 0 && !e) {
        log_error("standard output: cannot write");
        e = ERR_IO;
    }
    return err_exit_code(e);
}
