#include "cli/farm/screen.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/log.h"

// Of a terminal that does not say.
#define ROWS 24

void screen_init(struct screen *s)
{
    *s = (struct screen){ .terminal = isatty(STDOUT_FILENO) == 1 };
}

FILE *screen_begin(struct screen *s)
{
    s->f = open_memstream(&s->text, &s->bytes);
    return s->f;
}

static unsigned rows(void)
{
    struct winsize w = { 0 };
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row > 1 ? w.ws_row : ROWS;
}

// Lines that are too long are cut by the terminal: it does not wrap meanwhile.
static void draw(struct screen *s)
{
    const unsigned most = rows() - 1;
    unsigned lines = 0;
    printf("\r");
    if (s->drawn)
        printf("\033[%uA", s->drawn);
    printf("\033[?7l");
    for (const char *p = s->text; *p && lines < most; lines++) {
        const size_t n = strcspn(p, "\n");
        printf("%.*s\033[K\n", (int) n, p);
        p += n + (p[n] == '\n');
    }
    printf("\033[J\033[?7h");
    s->drawn = lines;
}

void screen_finish(const struct screen *s)
{
    if (s->drawn)
        fputs("\033[?7h", stdout);
    fflush(stdout);
}

enum err screen_show(struct screen *s)
{
    enum err e = fclose(s->f) == 0 ? ERR_OK : ERR_NOMEM;
    s->f = NULL;
    if (!e && s->terminal)
        draw(s);
    else if (!e)
        fputs(s->text, stdout);
    free(s->text);
    s->text = NULL;
    if (!e && fflush(stdout) != 0) {
        log_error("standard output: cannot write");
        e = ERR_IO;
    }
    return e;
}
