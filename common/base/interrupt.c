#include "common/base/interrupt.h"

#include <signal.h>
#include <stddef.h>

static atomic_bool interrupted; // a signal handler can reach nothing else

static void on_signal(int number)
{
    (void) number;
    atomic_store(&interrupted, true);
}

const atomic_bool *interrupt_watch(void)
{
    const struct sigaction once = { .sa_handler = on_signal, .sa_flags = (int) SA_RESETHAND };
    sigaction(SIGINT, &once, NULL);
    sigaction(SIGTERM, &once, NULL);
    struct sigaction hangup;
    // `nohup` has it ignored, and ignored it stays.
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &once, NULL);
    return &interrupted;
}

bool interrupt_asked(void)
{
    return atomic_load(&interrupted);
}
