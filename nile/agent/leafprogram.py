"""What runs on a host without Python: a few functions of a POSIX shell, told what to do line by line.

The parent runs `command_line`, whose loop evaluates what it reads. The lines of `PROGRAM` come first and
define the rest; after them every line is a call. What it says is lines too, none longer than a pipe takes
in one piece, as several processes write them:

    h PID UID UPTIME TICKS USER   it is ready; TICKS: when process 1 was started, in 1/100 s
    m TOOLS                  it isn't, for want of these
    a TRACE DIRECTORY        it claimed its host; no directory: there is no memory file system
    s PID, x STATUS          the command runs; it ended
    f WORDS                  it can't be run, for what was to be prepared can't
    oHEX, eHEX; o., e.       what it wrote on standard output and error; the end of that
    c PID:NAME ...           its processes that live
    p                        nothing but that it lives

Once the shell reads the end, or no heartbeat came for a lease, it ends the command and itself. Below it
are one process that counts seconds, which does the same if the shell was killed, one that says every second
that it lives, and two that read what the command writes. Whoever of them says something may have to wait
for ever, where nobody hears it any more: the one that counts says nothing, and finds the others by their
pids in a file. Processes of the command are known by a mark in their environment, by their session, or as
descendants of such. Files are in a directory of a memory file system, which is its claim as well (see
`nile.agent.claims`).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

MARK = "NILE_LEAF"
MOST_NAMED = 100  # processes in one line

# No quote, backslash, exclamation mark or newline inside the quotes, as in nile.agent.handshake.
_LOOP = 'echo; echo $0 sh; while read -r l; do eval "$l"; done'

# awk over lines of /proc/PID/stat: what follows the last bracket is state, parent, process group, session. It
# begins with the processes in s, those of session j, the children of y, and those that grep named
# (/proc/PID/environ); then come all that descend from these. With n it names so many of them on one line. A
# process names itself as it likes, in up to 15 bytes that may be lines: what grep says is over with the first
# stat, and that with enough fields.
_KIN = r"""
    /^.proc/ && !v { split($0, a, "/"); f[a[3]] = 1; next }
    {
        v = 1; r = r $0;
        if (!match(r, /.*[)]/) || split(substr(r, RLENGTH + 2), b) < 20) { r = r " "; next }
        q = r; r = ""; x = q + 0;
        if (b[1] == "Z" || b[1] == "X") next;
        u[x] = b[2];
        if ((j > 0 && b[4] == j) || (y > 0 && b[2] == y)) f[x] = 1;
        w[x] = substr(q, index(q, "(") + 1, RLENGTH - index(q, "(") - 1)
    }
    END {
        m = split(s, a, " ");
        for (i = 1; i <= m; i++) f[a[i]] = 1;
        do { c = 0; for (p in u) if (!(p in f) && (u[p] in f)) c = f[p] = 1 } while (c);
        for (p in f) if (p in u) {
            if (!n) print p;
            else if (z++ < n) { gsub(/[^A-Za-z0-9._+-]/, "?", w[p]); printf "%s:%s ", p, w[p] }
        }
    }
"""

# awk over what od prints: lines that a pipe takes in one piece. That nothing came is a status of 1.
_HEX = r"""
    { gsub(/ /, ""); s = s $0; if (length(s) > 3900) { print p s; fflush(); s = "" } }
    END { if (s != "") print p s; if (!NR) exit 1 }
"""

# One line a paragraph: what is on several lines here is joined by blanks.
_FUNCTIONS = r"""
trap "" PIPE USR1; n=$(printf "\n."); n=${n%.}; u=$(id -u); k=none; d=; t=; po=; pe=; ru=; pi=; was=; w=;
z=$0; g0=; printf "a\0b" | grep -qF b 2>/dev/null && g0=1

kin() { LC_ALL=C awk -v n=$1 -v j=$2 -v s="$3" -v y="$4" 'KIN'; }

# having WORD FILE: whose file in /proc has this word. The grep of busybox reads no further than a zero byte.
having() {
    if [ "$g0" ]; then grep -lsF "$1" /proc/[0-9]*/$2;
    else for q in /proc/[0-9]*/$2; do case $(cat $q) in *"$1"*) echo $q;; esac; done; fi;
} 2>/dev/null

# all [MOST]: the command's processes, one a line; or named, at most so many, on one. Before its exec it has
# neither mark nor session, but is below the one that waits for it.
all() {
    j=0; [ -r "$d/j" ] && read -r j <"$d/j";
    { having MARK=$k environ; cat /proc/[0-9]*/stat; } 2>/dev/null | kin ${1:-0} $j "$was" "$(ours $ru)";
}

# Whoever was seen is known from then on, when its parent is gone as well.
hit() { was=$(echo $(all)); for q in $was; do kill -s $1 $q; done; } 2>/dev/null

see() { echo "c $(all MOST_NAMED)"; }

# SIGTERM, $g seconds, SIGKILL until nothing lives.
stop() {
    [ "$(all)" ] || return 0;
    hit TERM; hit CONT;
    i=0; while [ $i -lt $g ] && [ "$(all)" ]; do sleep 1; i=$((i+1)); done;
    i=0; while [ $i -lt 99 ] && [ "$(all)" ]; do hit STOP; hit KILL; i=$((i+1)); done;
}

# pump LETTER: pass on what is written. Once nobody takes it any more, let nobody wait.
pump() {
    while dd bs=32768 count=1 2>/dev/null | od -An -v -tx1 | awk -v p=$1 'HEX'; do :; done;
    echo $1.; cat >/dev/null;
}

# last LETTER: have what is written by now end with a word of ours; what comes behind it is somebody else's.
last() {
    if [ -p "$d/$1" ]; then printf %s "$0 $1" 1<>"$d/$1" & echo $! >>"$d/p"; fi;
} 2>/dev/null

# ours PID...: those that are shells of the leaf z yet; no others that got their numbers, nor the ssh to it.
ours() {
    for q; do q=${q#/proc/}; q=${q%/*}; case $(cat /proc/$q/cmdline) in *done"$z") echo $q;; esac; done;
} 2>/dev/null

# quell PID...: end these, if any, with what runs below them, for somebody may hold the other end for long.
quell() {
    q=$(echo $(ours "$@")); [ "$q" ] || return;
    for q in $(cat /proc/[0-9]*/stat | kin 0 0 "$q"); do kill -9 $q; done; return 0;
} 2>/dev/null

# Nothing more is to be begun, and all that was is to end.
rout() { [ "$ru" ] || read -r ru <"$d/r"; kill -s STOP $(ours $ru); stop; } 2>/dev/null

# All that passes something on.
hush() { quell $po $pe $pi $(cat "$d/p"); } 2>/dev/null

cut() { case $1 in o) quell $po;; e) quell $pe;; esac; echo $1.; }

# Did nobody claim the host since?
mine() { m=; read -r m <"$d/m"; [ "${m:-$0}" = $0 ]; } 2>/dev/null

# Nobody is there any more, and whoever passed something on may wait for ever: what the command writes until
# it has ended is for nobody. With $f it goes on to its end, and with it ends who reads that. Where none began
# there is no trace.
fin() {
    trap "" 0; exec >/dev/null 2>&1; kill $t;
    if [ "$f" ] && [ -e "$d/ran" ]; then
        { cat <&5 3>&- 4>&- & cat <&6 3>&- 4>&- & hush; } 3<>"$d/o" 4<>"$d/e" 5<"$d/o" 6<"$d/e";
        exit;
    fi;
    if mine; then
        { cat <&3 & x=$!; cat <&4 & y=$!; hush; } 3<>"$d/o" 4<>"$d/e";
        rout; kill -9 $x $y;
    fi;
    hush; kill -9 $(ours $ru);
    read -r m <"$d/m";
    if [ "$m" = $0 ]; then if [ -e "$d/ran" ]; then rm -rf "$d"/*; else rm -rf "$d"; fi; fi;
    exit;
}

# bye KEEP TOLD: see "leave" of nile.agent.core.
bye() {
    trap "" 0; kill $t $pi; [ $1 = 1 ] || ! mine || rout;
    hush; kill -9 $(ours $ru);
    [ $2 = 1 ] && mine && rm -rf "$d";
    exit;
} 2>/dev/null

tick() {
    i=0; trap i=0 USR1; exec >/dev/null;
    while [ $i -lt $e ] && kill -0 $$; do sleep 1; i=$((i+1)); done;
    kill -9 $$; fin;
} 2>/dev/null

pulse() { while sleep 1 >/dev/null && kill -0 $$; do echo p; done; } 2>/dev/null

beat() { kill -USR1 $t; } 2>/dev/null

# claim MARK NAME: a directory that is there already is of one before, ended now; with $f it is left alone.
claim() {
    k=$1; r=none;
    for b in /dev/shm /run/user/$u; do
        c=$b/nile-$u-$2; if [ -O "$c" ] && [ ! -L "$c" ]; then d=$c; r=dead; fi;
    done;
    if [ $r = dead ] && [ "$f" ] && [ "$(all)" ]; then k=none; d=; echo "a dead"; return; fi;
    if [ $r = dead ]; then
        i=0; read -r z <"$d/m" && while [ $i -lt 9 ] && quell $(having $z cmdline); do i=$((i+1)); done;
        z=$0; hit STOP; hit KILL; rm -rf "$d"/*;
    fi;
    for b in /dev/shm /run/user/$u; do
        c=$b/nile-$u-$2; [ -z "$d" ] && (umask 077; mkdir "$c") && d=$c;
    done;
    if [ "$d" ] && (umask 077; mkfifo "$d/o" "$d/e" && mkdir "$d/scratch" && echo $0 >"$d/m"); then
        trap fin 0; pulse & pi=$!; tick & t=$!; echo "a $r $d";
    else echo "a $r"; fi;
} 2>/dev/null

put() { (umask 077; printf %b "$1" >>"$d/script") || w=1; } 2>/dev/null

# A session of its own, where the host has setsid(1). What a shell runs in the background ignores SIGINT and
# SIGQUIT, and not every shell takes that back: GNU's env does.
go() {
    trap - PIPE USR1 INT QUIT;
    env --default-signal=INT,QUIT true >/dev/null 2>&1 && set -- env --default-signal=INT,QUIT "$@";
    command -v setsid >/dev/null 2>&1 && exec setsid "$@"; exec "$@";
}

# run PREPARE WORD...: if what is to be prepared can be. Where that hangs, as in a directory whose file server
# is gone, it is stopped like any other command, and counts as begun then.
run() {
    pump o <"$d/o" & po=$!; pump e <"$d/e" & pe=$!; echo $po $pe >"$d/p";
    (
        m=$( (eval "$1") 2>&1); x=$?;
        if [ $x -gt 128 ]; then echo "s $$"; echo "x $x"; exit; fi;
        if [ $x != 0 ]; then echo "f --cwd, --rlimit: ${m%%"$n"*}"; exit; fi;
        : >"$d/ran";
        (eval "$1"; shift; go "$@") </dev/null >"$d/o" 2>"$d/e" & i=$!;
        command -v setsid >/dev/null 2>&1 && echo $i >"$d/j";
        echo "s $i"; wait $i; echo "x $?"
    ) & ru=$!; echo $ru >"$d/r";
}

# try PREPARE WORD...: run it, if there is all of it.
try() { if [ "$w" ]; then echo "f --script: $d has no room for it"; else run "$@"; fi; }

m=; for q in awk cat dd grep kill mkdir mkfifo rm sleep; do
    command -v $q >/dev/null 2>&1 || m="$m $q";
done;
case $(printf a | od -An -v -tx1 2>/dev/null) in *61*) ;; *) m="$m od -An -v -tx1";; esac;
[ -w /dev/shm ] || [ -w /run/user/$u ] || m="$m /dev/shm";
if [ "$m" ]; then echo "m$m"; else
    read -r q x </proc/uptime;
    x=$(awk '{ sub(/.*[)] /, ""); print $20 }' /proc/1/stat 2>/dev/null);
    echo "h $$ $u $q $x ${USER:-$LOGNAME}";
fi
"""


def _joined(text: str) -> str:
    return " ".join(line.strip() for line in text.split("\n") if line.strip()[:1] not in ("", "#"))


def _program() -> "List[str]":
    text = _FUNCTIONS.replace("MOST_NAMED", "%d" % MOST_NAMED).replace("MARK", MARK)
    text = text.replace("KIN", _joined(_KIN)).replace("HEX", _joined(_HEX))
    return [_joined(paragraph) for paragraph in text.split("\n\n")]


PROGRAM = _program()


def command_line(nonce: str) -> str:
    """The line that a parent runs on such a host; it announces itself as the first stage does."""
    return "exec sh -c '%s' %s" % (_LOOP, nonce)


def quoted(text: str) -> str:
    """A word for the shell there, on one line whatever is in it."""
    return "'" + text.replace("'", "'\\''").replace("\n", "'\"$n\"'") + "'"


def pieces(data: bytes, most: int = 1000) -> "List[str]":
    """Lines that put these bytes into the script's file."""
    lines = []
    for at in range(0, len(data), most):
        escaped = "".join("\\0%03o" % byte for byte in data[at : at + most])
        lines.append("put '%s'" % escaped)
    return lines
