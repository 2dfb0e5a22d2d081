"""`medjax completion`: what a shell needs to complete commands, options and their words."""

from __future__ import annotations

import argparse
from typing import Any

from medjax._cli._arguments import Parser
from medjax._cli._commands import COMMANDS
from medjax._cli._failure import DONE
from medjax._cli._talk import Talk

__all__ = ["parser", "run"]


def parser(name: str) -> Parser:
    epilog = 'bash: eval "$(medjax completion bash)"; zsh: the same; fish: medjax completion fish | source'
    made = Parser(name, COMMANDS[name].line, epilog=epilog)
    made.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")
    return made


def run(options: Any, talk: Talk) -> int:
    words = {name: _words(command.load().parser(name)) for name, command in COMMANDS.items()}
    talk.out({"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell](words))
    return DONE


def _words(made: argparse.ArgumentParser) -> list[str]:
    """The options of a command, and the words that its arguments may be."""
    found = []
    for action in made._actions:
        found += [option for option in action.option_strings if option.startswith("--")]
        if not action.option_strings and action.choices:
            found += [str(choice) for choice in action.choices]
    return found


def _bash(words: dict[str, list[str]]) -> str:
    cases = "\n".join(f'    {name}) words="{" ".join(options)}" ;;' for name, options in words.items())
    return f"""\
# bash completion of medjax
_medjax() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" words
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{" ".join(words)} --help --version" -- "$current"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{cases}
    *) words="" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  case "$current" in -*) ;; *) COMPREPLY+=($(compgen -f -- "$current")) ;; esac
}}
complete -o filenames -F _medjax medjax"""


def _zsh(words: dict[str, list[str]]) -> str:
    return f"autoload -U +X bashcompinit && bashcompinit\n{_bash(words)}"


def _fish(words: dict[str, list[str]]) -> str:
    lines = ["# fish completion of medjax"]
    for name, options in words.items():
        line = COMMANDS[name].line.replace("'", "\\'")
        lines.append(f"complete -c medjax -n __fish_use_subcommand -f -a {name} -d '{line}'")
        for option in options:
            form = f"-l {option[2:]}" if option.startswith("--") else f"-a {option}"
            lines.append(f"complete -c medjax -n '__fish_seen_subcommand_from {name}' {form}")
    return "\n".join(lines)
