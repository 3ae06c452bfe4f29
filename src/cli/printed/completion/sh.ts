/** The part of the completion that bash and zsh share: functions that say what can stand in a place. */
import { commandWords, rules, subcommandWords, type Word } from "./rules.js";

/**
 * `_iova_what CURRENT WORD...` prints what can stand after these words, a word, a tab and its meaning a line; or `<file>`,
 * `<folder>`, and then a prefix of the word that is not part of the path.
 */
export function sharedFunctions(): string {
  return `_iova_commands() {
  ${printed(commandWords)}
}

_iova_subcommands() {
  ${printed(subcommandWords)}
}

_iova_options() {
  case $1 in
${rules.map(({ command, options }) => `    ${quoted(command)}) ${printed(options)} ;;`).join("\n")}
  esac
}

_iova_kind() {
  case $1 in
${rules.flatMap(({ command, kinds }) => kinds.map(([place, kind]) => `    ${pattern(command, place)}) printf '%s' ${quoted(kind)} ;;`)).join("\n")}
  esac
}

_iova_ids() {
  local each
  for each in $(ls /sys/bus/pci/devices 2>/dev/null); do
    printf '%s:%s\\n' "$(cut -c3- "/sys/bus/pci/devices/$each/vendor")" "$(cut -c3- "/sys/bus/pci/devices/$each/device")"
  done
}

_iova_offer() {
  case $1 in
    words\\ *) printf '%s\\n' "\${1#words }" | tr ' ' '\\n' ;;
    command) _iova_commands ;;
    function) ls /sys/bus/pci/devices 2>/dev/null ;;
    target)
      case $2 in
        vfio-user:*) printf '<file>\\tvfio-user:\\n' ;;
        *) ls /sys/bus/pci/devices 2>/dev/null; printf 'vfio-user:\\tthe path of a socket\\n' ;;
      esac ;;
    mediated) ls /sys/bus/mdev/devices 2>/dev/null; ls /sys/class/mdev_bus 2>/dev/null ;;
    id) _iova_ids ;;
    class) cut -c3- /sys/bus/pci/devices/*/class 2>/dev/null ;;
    file | folder) printf '<%s>\\t\\n' "$1" ;;
  esac
}

_iova_what() {
  local current=$1 each command="" operand=1 pending=""
  shift
  for each in "$@"; do
    if [ -n "$pending" ]; then pending=""; continue; fi
    case $each in
      --*=*) ;;
      -*) if [ -n "$(_iova_kind "$command $each")" ]; then pending=$each; fi ;;
      *)
        if [ -z "$command" ]; then command=$each
        elif [ "$command" = nvme ]; then command="nvme $each"
        else operand=$((operand + 1))
        fi ;;
    esac
  done
  if [ -n "$pending" ]; then _iova_offer "$(_iova_kind "$command $pending")" "$current"; return; fi
  case $current in
    --*=*)
      _iova_offer "$(_iova_kind "$command \${current%%=*}")" "\${current#*=}" |
        while IFS= read -r each; do
          case $each in
            '<'*) printf '%s%s\\n' "$each" "\${current%%=*}=" ;;
            *) printf '%s%s\\n' "\${current%%=*}=" "$each" ;;
          esac
        done ;;
    -*) if [ -z "$command" ]; then printf '%s\\n' --help --version; else _iova_options "$command"; fi ;;
    *)
      if [ -z "$command" ]; then _iova_commands
      elif [ "$command" = nvme ]; then _iova_subcommands
      else _iova_offer "$(_iova_kind "$command @$operand")" "$current"
      fi ;;
  esac
}
`;
}

/** The command that prints words with their meanings. */
function printed(words: readonly Word[]): string {
  return `printf '%s\\t%s\\n' ${words.flat().map(quoted).join(" ")}`;
}

/** A pattern of \`case\`: everything is literal but the star of \`@*\`. */
function pattern(command: string, place: string): string {
  return place === "@*" ? `${quoted(`${command} @`)}*` : quoted(`${command} ${place}`);
}

/** One word of a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
