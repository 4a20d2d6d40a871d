#!/bin/sh
# Redirections and pipes of every kind in the folder that is the first argument. Prints the same lines on every
# machine and file system; tools/dev programs compares them with what this machine prints.
set -eu
cd "$1"
LC_ALL=C
export LC_ALL
step() { printf '%s\n' "-- $*"; }

step "output, append, input"
echo one > a
echo two >> a
echo three >> a
cat < a
wc -l < a | tr -d ' '
: > empty
[ ! -s empty ] && echo "empty is empty"

step "truncation by a redirection"
seq 1 1000 > numbers
echo short > numbers
cat numbers
seq 1 1000 > numbers

step "standard error apart and together"
ls missing > out 2> errors || echo "ls failed"
[ -s errors ] && echo "errors has text"
[ -s out ] || echo "out has none"
{ echo to-out; echo to-errors >&2; } > both 2>&1
sort both
{ echo first; echo second >&2; } 2>&1 > /dev/null | cat

step "here-documents"
cat > here <<END
value $((6 * 7))
  indented
END
cat here
cat <<'END' | tr a-z A-Z > upper
quoted $HOME
END
cat upper

step "numbered descriptors"
exec 3> three
echo "to three" >&3
echo "again" >&3
exec 3>&-
cat three
exec 4< numbers
read -r first <&4
read -r second <&4
echo "$first $second"
exec 4<&-
exec 5>> three
echo "appended" >&5
exec 5>&-
tail -n 1 three
exec 6<> three
read -r line <&6
echo "read $line"
echo "OVER" >&6
exec 6>&-
cat three

step "standard output saved, moved, restored"
exec 7>&1
exec > moved
echo "inside"
pwd > /dev/null
exec 1>&7 7>&-
cat moved

step "one open file, two writers"
exec 8> shared
( echo "child" >&8 )
echo "parent" >&8
( echo "child again" >&8; ) &
wait $!
echo "parent again" >&8
exec 8>&-
cat shared

step "one open file, two readers"
seq 1 10 > ten
{ read -r x; read -r y; ( read -r z; echo "sub $z" ); echo "$x $y"; } < ten
{ head -c 4 > /dev/null; cat; } < ten | head -n 2

step "loops"
while read -r n; do
  [ $((n % 100)) -eq 0 ] && echo "$n"
done < numbers > hundreds || true
cat hundreds | tr '\n' ' '; echo
for i in 1 2 3 4 5; do
  echo "line $i" >> loop
done
cat loop | while read -r word n; do echo "$n:$word"; done > turned
cat turned

step "long pipelines"
seq 1 2000 | grep 7 | sed 's/7/x/g' | sort -r | uniq | head -n 5
seq 1 500 | tee teed | awk '{ sum += $1 } END { print sum }'
wc -l < teed | tr -d ' '
cat numbers numbers | sort -n | uniq -c | awk '$1 != 2' | wc -l | tr -d ' '
yes text | head -n 1000 > yes
wc -c < yes | tr -d ' '

step "a pipe whose reader leaves"
( seq 1 100000; echo "status $?" >&2 ) 2> left | head -n 1
[ -s left ] || echo "the writer was ended"

step "command substitution"
count=$(wc -l < numbers | tr -d ' ')
echo "$count lines"
echo "$(cat a | sort | head -n 1)" > substituted
cat substituted

step "background jobs"
for i in 1 2 3 4; do
  ( seq $((i * 100)) $((i * 100 + 99)) > "part$i" ) &
done
wait
cat part1 part2 part3 part4 | wc -l | tr -d ' '
cat part4 part3 part2 part1 | sort -n | head -n 1

step "appending from many processes"
: > log
for i in 1 2 3 4 5 6; do
  ( for j in 1 2 3 4 5; do echo "writer $i line $j" >> log; done ) &
done
wait
wc -l < log | tr -d ' '
sort log | uniq | wc -l | tr -d ' '

step "noclobber"
set -C
( echo new > a ) 2> /dev/null || echo "refused"
echo new >| noclobber
set +C
cat noclobber

step "dd"
dd if=numbers of=copied bs=100 2> /dev/null
cmp numbers copied && echo same
dd if=numbers of=copied bs=1 skip=10 seek=10 count=5 conv=notrunc 2> /dev/null
cmp numbers copied && echo same
dd if=/dev/zero of=sparse bs=1 count=0 seek=100000 2> /dev/null
wc -c < sparse | tr -d ' '

step "split, paste, join, comm, cut"
split -l 300 numbers piece.
ls piece.* | tr '\n' ' '; echo
cat piece.* | cmp - numbers && echo whole
paste -d, part1 part2 | head -n 2
seq 1 5 > left5
seq 3 7 > right5
comm -12 left5 right5 | tr '\n' ' '; echo
cut -c1 numbers | sort | uniq -c | sort -n | head -n 3

step "names"
mkdir -p deep/er/est
echo x > deep/er/est/file
( cd deep/er && cat est/file > ../copy && cat < ../copy )
mv deep/copy deep/moved
ln deep/moved deep/linked
echo y >> deep/linked
cat deep/moved
ln -s ../a deep/symbolic
cat deep/symbolic | head -n 1
find deep -type f | sort
rm -r deep
[ -e deep ] || echo gone
echo "name with space" > "a file"
cat "a file"
printf 'x\0y\0' > zeros
tr '\0' '\n' < zeros

step "an open file without a name"
exec 9<> nameless
rm nameless
echo "still here" >&9
cat /proc/self/fd/9
exec 9>&-
[ -e nameless ] || echo "and gone"

step "tools that read and write"
sed -i 's/two/zwei/' a
cat a
sort -o a a
cat a
awk '{ print > ("awk." NR % 2) } END { close("awk.0"); close("awk.1") }' ten
cat awk.0 | tr '\n' ' '; echo
find . -name 'awk.*' | sort | xargs cat | sort -n | tr '\n' ' '; echo
xargs -n 3 echo < ten
tail -c 5 numbers
od -An -c here | head -n 1 | tr -s ' '
sha256sum numbers log.sorted 2> /dev/null || sort log | sha256sum
ls | wc -l | tr -d ' '
step "done"
