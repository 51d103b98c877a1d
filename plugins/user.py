"""What the other plugins know of users."""


class UserService:
    async def say(self) -> str:
        return "Hello Man!!"
