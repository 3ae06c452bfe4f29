/** The completion for bash. */
import { sharedFunctions } from "./sh.js";

/** Bash splits words at colons and equals signs, and wants only what follows the last of them. */
export function bashCompletion(): string {
  return `# Completion of iova for bash, made by \`iova completion bash\`.

${sharedFunctions()}
_iova() {
  local line=\${COMP_LINE:0:COMP_POINT} current="" start="" rest="" word text path
  local -a typed
  read -ra typed <<<"$line"
  case $line in
    *[[:space:]]) ;;
    *) current=\${typed[\${#typed[@]} - 1]}; unset "typed[\${#typed[@]} - 1]" ;;
  esac
  rest=$current
  while [[ $rest == *:* && $COMP_WORDBREAKS == *:* ]]; do rest=\${rest#*:}; done
  while [[ $rest == *=* && $COMP_WORDBREAKS == *=* ]]; do rest=\${rest#*=}; done
  start=\${current%"$rest"}
  COMPREPLY=()
  while IFS=$'\\t' read -r word text; do
    case $word in
      '<file>' | '<folder>')
        compopt -o filenames 2>/dev/null
        while IFS= read -r path; do COMPREPLY+=("\${path#"\${start#"$text"}"}"); done < <(
          if [ "$word" = '<file>' ]; then compgen -f -- "\${current#"$text"}"; else compgen -d -- "\${current#"$text"}"; fi
        ) ;;
      "$current"*)
        case $word in *[=:]) compopt -o nospace 2>/dev/null ;; esac
        COMPREPLY+=("\${word#"$start"}") ;;
    esac
  done < <(_iova_what "$current" "\${typed[@]:1}")
}

complete -F _iova iova
`;
}
