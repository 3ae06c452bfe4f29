/** The completion for zsh. */
import { sharedFunctions } from "./sh.js";

/** It works as the file _iova in fpath, and by \`source\`. */
export function zshCompletion(): string {
  return `#compdef iova
# Completion of iova for zsh, made by \`iova completion zsh\`.

${sharedFunctions()}
_iova() {
  local line word text
  local -a described
  while IFS=$'\\t' read -r word text; do
    case $word in
      '<file>' | '<folder>')
        [[ -n $text ]] && compset -P "$text"
        if [[ $word == '<file>' ]]; then _files; else _files -/; fi
        return ;;
      *) described+=("\${word//:/\\\\:}:$text") ;;
    esac
  done < <(_iova_what "\${words[CURRENT]}" "\${(@)words[2,CURRENT-1]}")
  _describe -V 'iova' described
}

if [ "$funcstack[1]" = _iova ]; then _iova "$@"; else compdef _iova iova; fi
`;
}
