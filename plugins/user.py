"""A service for the other plugins."""


class UserService:
    async def say(self) -> str:
        return "Hello Man!!"
