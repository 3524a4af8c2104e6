# Completion of underscore's verbs and options in bash. Both are read from the
# --help pages, so that they are those of the version that is installed.
_underscore()
{
    local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]}
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(underscore --help 2> /dev/null |
            sed -n 's/^  \([a-z][a-z-]*\)  .*/\1/p') --help --version" -- "$word")
    elif [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(underscore "$verb" --help 2> /dev/null |
            sed -n 's/^  \(-., \|    \)\(--[a-z0-9-]*\).*/\2/p')" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}
complete -o filenames -F _underscore underscore
