"""How a bash asks for what it may offer; click's own way takes its words as readline has broken them.

Readline breaks words behind : and =, and before @, too (COMP_WORDBREAKS): `db,@we` is
two, and what is offered replaces only the last. So the line itself is sent, up to the
cursor, and of each offer what stands before the last break is cut off again.
"""

from __future__ import annotations

import os

from click.shell_completion import BashComplete, add_completion_class, split_arg_string

_SOURCE = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value char
    local line="${COMP_LINE:0:COMP_POINT}"
    local word="${line##*[[:space:]]}"
    local rest="$word"
    for char in : =; do
        [[ $COMP_WORDBREAKS == *"$char"* ]] && rest="${rest##*"$char"}"
    done
    [[ $COMP_WORDBREAKS == *@* && $rest == *@* ]] && rest="@${rest##*@}"
    local cut="${word%%"$rest"}"
    response=$(env COMP_WORDS="$line" COMP_CWORD="$COMP_CWORD" %(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$cut"}") ;;
        esac
    done
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s 2> /dev/null ||
    complete -F %(complete_func)s %(prog_name)s
"""


class WholeWords(BashComplete):
    """Reads the line as the shell would."""

    source_template = _SOURCE

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is to be completed, and that one."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        if not words or line[-1:].isspace():
            return words, ""
        return words[:-1], words[-1]


def serve_bash() -> None:
    """From now on bash is served so."""
    add_completion_class(WholeWords, "bash")
