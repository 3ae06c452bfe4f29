/** The completion for fish. */
import { commandWords, rules, subcommandWords, type Word } from "./rules.js";

export function fishCompletion(): string {
  return `# Completion of iova for fish, made by \`iova completion fish\`.

function __iova_commands
    ${printed(commandWords)}
end

function __iova_subcommands
    ${printed(subcommandWords)}
end

function __iova_options
    switch $argv[1]
${rules.map(({ command, options }) => `        case ${quoted(command)}\n            ${printed(options)}`).join("\n")}
    end
end

function __iova_kind
    switch $argv[1]
${rules.flatMap(({ command, kinds }) => kinds.map(([place, kind]) => `        case ${quoted(`${command} ${place}`)}\n            echo ${quoted(kind)}`)).join("\n")}
    end
end

function __iova_functions
    command ls /sys/bus/pci/devices 2>/dev/null
end

# Prints what can stand in a place of this kind. The rest: the word, and what stands before the value in it.
function __iova_offer
    switch $argv[1]
        case 'words *'
            string split ' ' -- (string replace 'words ' '' -- $argv[1])
        case command
            __iova_commands
        case function
            __iova_functions
        case target
            if string match -q 'vfio-user:*' -- $argv[2]
                for each in (__fish_complete_path (string replace 'vfio-user:' '' -- $argv[2]))
                    echo "vfio-user:$each"
                end
            else
                __iova_functions
                printf '%s\\t%s\\n' vfio-user: 'the path of a socket'
            end
        case mediated
            command ls /sys/bus/mdev/devices 2>/dev/null
            command ls /sys/class/mdev_bus 2>/dev/null
        case id
            for each in (__iova_functions)
                echo (cut -c3- /sys/bus/pci/devices/$each/vendor):(cut -c3- /sys/bus/pci/devices/$each/device)
            end
        case class
            for each in (__iova_functions)
                cut -c3- /sys/bus/pci/devices/$each/class
            end
        case file
            __fish_complete_path $argv[2]
        case folder
            __fish_complete_directories $argv[2]
    end
end

function __iova_what
    set -l current (commandline -ct)
    set -l before (commandline -opc)
    set -l name ''
    set -l operand 1
    set -l pending ''
    for each in $before[2..-1]
        if test -n "$pending"
            set pending ''
            continue
        end
        switch $each
            case '--*=*'
            case '-*'
                if test -n "$(__iova_kind "$name $each")"
                    set pending $each
                end
            case '*'
                if test -z "$name"
                    set name $each
                else if test "$name" = nvme
                    set name "nvme $each"
                else
                    set operand (math $operand + 1)
                end
        end
    end
    if test -n "$pending"
        __iova_offer "$(__iova_kind "$name $pending")" "$current"
        return
    end
    switch "$current"
        case '--*=*'
            set -l parts (string split -m 1 = -- $current)
            for each in (__iova_offer "$(__iova_kind "$name $parts[1]")" "$parts[2]")
                echo "$parts[1]=$each"
            end
        case '-*'
            if test -z "$name"
                printf '%s\\n' --help --version
            else
                __iova_options "$name"
            end
        case '*'
            if test -z "$name"
                __iova_commands
            else if test "$name" = nvme
                __iova_subcommands
            else
                __iova_offer "$(__iova_kind "$name @$operand")" "$current"
            end
    end
end

complete -c iova -f -k -a '(__iova_what)'
`;
}

function printed(words: readonly Word[]): string {
  return `printf '%s\\t%s\\n' ${words.flat().map(quoted).join(" ")}`;
}

/** One word of fish, whose quotes have two escapes. */
function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
