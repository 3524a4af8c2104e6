# Completion of underscore's verbs, their words and options in bash. All of it is read from
# the --help pages, so that it is that of the version that is installed; names of workers
# and numbers of jobs come from the farm, where one answers.
_underscore()
{
    local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} offers= farm=
    [ "$verb ${COMP_WORDS[2]}" = "bench farm" ] && farm=farm
    if [ "$COMP_CWORD" -eq 1 ]; then
        offers="$(underscore --help 2> /dev/null | sed -n 's/^  \([a-z][a-z-]*\)  .*/\1/p') --help --version"
    elif [[ $word == -* ]]; then
        offers=$(underscore "$verb" $farm --help 2> /dev/null | sed -n 's/^  \(-., \|    \)\(--[a-z0-9-]*\).*/\2/p')
    else
        case $verb,$COMP_CWORD in
        node,2 | queue,2 | db,2 | config,2 | key,2) # "usage: underscore queue show | enable | ..."
            offers=$(underscore "$verb" --help 2> /dev/null | sed -n "1{s/^usage: underscore $verb//;s/|/\n/g;p}" |
                sed -n 's/^ *\([a-z]*\).*/\1/p') ;;
        bench,2) offers=farm ;;
        node,*)
            offers=$(timeout 2 underscore node list 2> /dev/null | sed -n '2,$s/ .*//p') ;;
        show,* | explain,* | watch,* | logs,* | cancel,* | pause,* | resume,* | retry,* | prio,2)
            offers=$(timeout 2 underscore list -a 2> /dev/null | sed -n '2,$s/^ *\([0-9]*\) .*/\1/p') ;;
        *)
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$offers" -- "$word")
}
complete -o filenames -F _underscore underscore
