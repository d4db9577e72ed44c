/** The user and the people and groups that the user knows, as the server last told them. */
import type { Message } from "../wire/message.ts";
import { Msg } from "../wire/protocol.ts";
import { type Group, number, readFriends, readGroups, string, type User } from "./incoming.ts";

/** Kept up to date from what the server sends. */
export class Contacts {
  #id = 0;
  #name = "";
  #friends = new Map<number, User>();
  #groups: readonly Group[] = [];

  /** The user's own id. */
  get id(): number {
    return this.#id;
  }

  /** The user's own name. */
  get name(): string {
    return this.#name;
  }

  get friends(): readonly User[] {
    return [...this.#friends.values()];
  }

  get groups(): readonly Group[] {
    return this.#groups;
  }

  /** The friend with this id. */
  friend(id: number): User | undefined {
    return this.#friends.get(id);
  }

  /** The user has a new friend. */
  addFriend(friend: User): void {
    this.#friends.set(friend.id, friend);
  }

  /** The user is in a new group; its members are known when the lists are next asked for. */
  addGroup(id: number, name: string): void {
    if (this.#groups.some((group) => group.id === id)) return;
    this.#groups = [...this.#groups, { id, name, description: "", members: 0, users: [] }];
  }

  /** Takes what the message says about them, if anything. */
  update(message: Message): void {
    if (message.msgid === Msg.LOGIN_ACK) {
      this.#id = number(message.id);
      this.#name = string(message.name);
    }
    if (message.msgid === Msg.LOGIN_ACK || message.msgid === Msg.CONTACTS_ACK) {
      this.#friends = new Map(readFriends(message).map((friend) => [friend.id, friend]));
      this.#groups = readGroups(message);
    } else if (message.msgid === Msg.PRESENCE) {
      const friend = this.#friends.get(number(message.id));
      if (friend) this.#friends.set(friend.id, { ...friend, state: string(message.state) });
    }
  }
}
